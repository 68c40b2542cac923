// lmcache_plugin: what an LMCache native plugin does with Terrace, on its C interface.
//
// Operations are submitted from any thread and answer with an id at once; each id comes back
// exactly once from lmc_drain_completions, with a bit per key. lmc_event_fd is readable while there
// is something to drain. Keys come without order or prefix, so each is placed by itself.
//
// Thread: any, at the same time, but lmc_close, which comes last and once.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LMC_KEYS_MAX = 256 };  // of one operation
enum { LMC_OPERATIONS_MAX = 4096 };

typedef struct lmc_plugin lmc_plugin;

typedef struct lmc_options {
  const char* address;
  uint64_t block_bytes;
  void* pool;  // host memory that every view lies in
  uint64_t pool_bytes;
  uint32_t connect_ms;
  uint32_t operation_ms;
} lmc_options;

typedef struct lmc_key {
  const void* bytes;
  uint32_t length;  // 1 to 64
} lmc_key;

typedef struct lmc_completion {
  uint64_t id;
  int ok;           // 0: nothing was done, `error` says why, every bit is 0
  uint32_t count;   // of bits
  uint64_t lock;    // of a lookup that locked something; 0: none
  int lock_status;  // a terrace_status: 0, or why there is no lock
  int in_doubt;     // views may still be written or read: lmc_quiet
  char error[160];
  uint8_t bits[LMC_KEYS_MAX];
} lmc_completion;

// Which keys a lookup counts as found: those before the first hole, or all of them.
enum { LMC_TRIM_PREFIX = 0, LMC_TRIM_SPARSE = 1 };

// Null when there is no daemon: `error` (160 bytes) says why.
lmc_plugin* lmc_open(const lmc_options* options, char* error);
// Ends what is under way. What was submitted before can still be drained until lmc_close.
void lmc_stop(lmc_plugin* plugin);
void lmc_close(lmc_plugin* plugin);
int lmc_event_fd(const lmc_plugin* plugin);

// 0: the arguments are wrong, or too much is under way; nothing will be completed.
// views[i]: where block i lies or shall lie, within the pool.
uint64_t lmc_submit_batch_get(lmc_plugin* plugin, const lmc_key* keys, void* const* views,
                              uint32_t count);
uint64_t lmc_submit_batch_set(lmc_plugin* plugin, const lmc_key* keys, void* const* views,
                              uint32_t count);
uint64_t lmc_submit_batch_exists(lmc_plugin* plugin, const lmc_key* keys, uint32_t count);
uint64_t lmc_submit_batch_delete(lmc_plugin* plugin, const lmc_key* keys, uint32_t count);
// What is found stays where it is until it is unlocked, or for so long.
uint64_t lmc_submit_lookup_and_lock(lmc_plugin* plugin, const lmc_key* keys, uint32_t count,
                                    int trim, uint32_t ttl_ms);
// The lock of a lookup; one that has ended is as good as unlocked.
void lmc_unlock(lmc_plugin* plugin, uint64_t lock);
// 1: it holds for so long again. 0: it had ended, and what it held may be gone. Waits.
int lmc_renew(lmc_plugin* plugin, uint64_t lock, uint32_t ttl_ms);

// At most `capacity`; never waits.
uint32_t lmc_drain_completions(lmc_plugin* plugin, lmc_completion* completions, uint32_t capacity);
// 1: nothing touches the views of operations that have ended. Does not wait.
int lmc_quiet(lmc_plugin* plugin);

#ifdef __cplusplus
}  // extern "C"
#endif
