#include "tests/contract/lmcache_plugin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/terrace.h"

enum { KIND_FREE = 0, KIND_GET, KIND_SET, KIND_EXISTS, KIND_DELETE, KIND_LOOKUP };

/* An operation under way. */
typedef struct Operation {
  uint64_t id; /* the ticket; of one that was refused at once, a number of our own */
  int kind;
  int trim;
  uint32_t count;
} Operation;

/* One that ended before it was sent: it must come back from the drain as all others do. */
typedef struct Refused {
  uint64_t id;
  uint32_t count;
  char error[160];
} Refused;

struct lmc_plugin {
  terrace_client client;
  terrace_space space;
  terrace_region region;
  unsigned char* pool;
  uint64_t pool_bytes;
  uint64_t block_bytes;
  uint32_t operation_ms;
  int completion_fd;
  int refused_fd; /* readable while there are refused ones */
  int event_fd;   /* of epoll: either of them */
  pthread_mutex_t mutex;
  /* Under the mutex. It is held while a call is submitted: its completion may come back on
     another thread before the ticket is known here. */
  Operation operations[LMC_OPERATIONS_MAX];
  Refused refused[64];
  uint32_t refused_count;
  uint64_t next_refused;
};

static const terrace_kind kKind = {0, 0};
static const uint64_t kRefusedIds = 1ull << 63; /* tickets are small numbers */

static int WatchBoth(lmc_plugin* plugin) {
  plugin->refused_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  plugin->event_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event readable = {.events = EPOLLIN, .data = {.u64 = 0}};
  return plugin->refused_fd >= 0 && plugin->event_fd >= 0 &&
         epoll_ctl(plugin->event_fd, EPOLL_CTL_ADD, plugin->completion_fd, &readable) == 0 &&
         epoll_ctl(plugin->event_fd, EPOLL_CTL_ADD, plugin->refused_fd, &readable) == 0;
}

static terrace_status Open(lmc_plugin* plugin, const lmc_options* options, terrace_error* error) {
  terrace_client_options client = TERRACE_CLIENT_OPTIONS_INIT;
  client.address = options->address;
  client.name = "lmcache";
  client.connect_timeout_ms = options->connect_ms;
  terrace_status status = terrace_connect(&client, &plugin->client, error);
  if (status != TERRACE_OK) return status;

  const terrace_group group = {0, 0, NULL, options->block_bytes};
  terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
  descriptor.name = "lmcache";
  descriptor.block_tokens = 256;
  descriptor.groups = &group;
  descriptor.group_count = 1;
  descriptor.run_blocks = 1; /* keys come without their prefix: each is placed by itself */
  status = terrace_open_namespace(plugin->client, &descriptor, terrace_in_ms(options->connect_ms),
                                  &plugin->space, error);
  if (status != TERRACE_OK) return status;
  status = terrace_register_memory(plugin->client, options->pool, options->pool_bytes,
                                   &plugin->region, error);
  if (status != TERRACE_OK) return status;
  return terrace_completion_fd(plugin->client, &plugin->completion_fd, error);
}

lmc_plugin* lmc_open(const lmc_options* options, char* error_text) {
  lmc_plugin* plugin = calloc(1, sizeof *plugin);
  if (plugin == NULL) return NULL;
  plugin->pool = options->pool;
  plugin->pool_bytes = options->pool_bytes;
  plugin->block_bytes = options->block_bytes;
  plugin->operation_ms = options->operation_ms;
  plugin->refused_fd = plugin->event_fd = -1;
  pthread_mutex_init(&plugin->mutex, NULL);
  terrace_error error = {0};
  if (Open(plugin, options, &error) == TERRACE_OK && WatchBoth(plugin)) return plugin;
  (void)snprintf(error_text, 160, "%s", error.message);
  lmc_close(plugin);
  return NULL;
}

void lmc_stop(lmc_plugin* plugin) { (void)terrace_shutdown(plugin->client, NULL); }

void lmc_close(lmc_plugin* plugin) {
  (void)terrace_close(plugin->client, NULL);
  if (plugin->event_fd >= 0) (void)close(plugin->event_fd);
  if (plugin->refused_fd >= 0) (void)close(plugin->refused_fd);
  pthread_mutex_destroy(&plugin->mutex);
  free(plugin);
}

int lmc_event_fd(const lmc_plugin* plugin) { return plugin->event_fd; }

/* ---- submitting ---- */

static int MakeChain(const lmc_key* keys, uint32_t count, terrace_chain* chain) {
  if (count == 0 || count > LMC_KEYS_MAX) return 0;
  unsigned char bytes[LMC_KEYS_MAX * 64];
  uint32_t lengths[LMC_KEYS_MAX];
  size_t used = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (keys[i].length == 0 || keys[i].length > 64) return 0;
    memcpy(bytes + used, keys[i].bytes, keys[i].length);
    lengths[i] = keys[i].length;
    used += keys[i].length;
  }
  if (terrace_chain_new(chain, NULL) != TERRACE_OK) return 0;
  if (terrace_chain_append_each(*chain, bytes, lengths, count, NULL) == TERRACE_OK) return 1;
  (void)terrace_chain_free(*chain, NULL);
  return 0;
}

static int MakeBlocks(const lmc_plugin* plugin, void* const* views, uint32_t count,
                      terrace_block* blocks) {
  for (uint32_t i = 0; i < count; ++i) {
    const unsigned char* view = views[i];
    if (view < plugin->pool || view + plugin->block_bytes > plugin->pool + plugin->pool_bytes) {
      return 0;
    }
    blocks[i] = (terrace_block){i, plugin->region, (uint64_t)(view - plugin->pool), 0, 0};
  }
  return 1;
}

/* What Send needs beside the plugin and the chain. */
typedef struct Call {
  Operation operation;
  const terrace_block* blocks;
  const terrace_match_query* query;
} Call;

static terrace_status Send(const lmc_plugin* plugin, const Call* call, terrace_chain chain,
                           terrace_ticket* ticket, terrace_error* error) {
  const terrace_deadline deadline = terrace_in_ms(plugin->operation_ms);
  const uint32_t count = call->operation.count;
  switch (call->operation.kind) {
    case KIND_GET:
      return terrace_submit_get(plugin->client, plugin->space, chain, kKind, call->blocks, count,
                                deadline, ticket, error);
    case KIND_SET:
      return terrace_submit_put(plugin->client, plugin->space, chain, kKind, call->blocks, count,
                                TERRACE_ACK_COMMITTED, deadline, ticket, error);
    case KIND_DELETE:
      return terrace_submit_remove(plugin->client, plugin->space, chain, kKind, 0, count, deadline,
                                   ticket, error);
    default:
      return terrace_submit_match_groups(plugin->client, plugin->space, chain, call->query,
                                         deadline, ticket, error);
  }
}

/* Under the mutex. */
static uint64_t Refuse(lmc_plugin* plugin, uint32_t count, const terrace_error* error) {
  if (plugin->refused_count == sizeof plugin->refused / sizeof plugin->refused[0]) return 0;
  Refused* refused = &plugin->refused[plugin->refused_count++];
  refused->id = kRefusedIds + ++plugin->next_refused;
  refused->count = count;
  (void)snprintf(refused->error, sizeof refused->error, "%s", error->message);
  const uint64_t one = 1;
  return write(plugin->refused_fd, &one, sizeof one) == sizeof one ? refused->id : 0;
}

static uint64_t Submit(lmc_plugin* plugin, const lmc_key* keys, Call call) {
  terrace_chain chain = 0;
  if (!MakeChain(keys, call.operation.count, &chain)) return 0;
  terrace_error error;
  uint64_t id = 0;
  pthread_mutex_lock(&plugin->mutex);
  Operation* slot = NULL;
  for (uint32_t i = 0; i < LMC_OPERATIONS_MAX && slot == NULL; ++i) {
    if (plugin->operations[i].kind == KIND_FREE) slot = &plugin->operations[i];
  }
  if (slot != NULL) {
    if (Send(plugin, &call, chain, &id, &error) == TERRACE_OK) {
      *slot = call.operation;
      slot->id = id;
    } else {
      id = Refuse(plugin, call.operation.count, &error);
    }
  }
  pthread_mutex_unlock(&plugin->mutex);
  (void)terrace_chain_free(chain, NULL);
  return id;
}

static uint64_t SubmitBlocks(lmc_plugin* plugin, int kind, const lmc_key* keys, void* const* views,
                             uint32_t count) {
  terrace_block blocks[LMC_KEYS_MAX];
  if (count > LMC_KEYS_MAX || !MakeBlocks(plugin, views, count, blocks)) return 0;
  const Call call = {{0, kind, 0, count}, blocks, NULL};
  return Submit(plugin, keys, call);
}

uint64_t lmc_submit_batch_get(lmc_plugin* plugin, const lmc_key* keys, void* const* views,
                              uint32_t count) {
  return SubmitBlocks(plugin, KIND_GET, keys, views, count);
}

uint64_t lmc_submit_batch_set(lmc_plugin* plugin, const lmc_key* keys, void* const* views,
                              uint32_t count) {
  return SubmitBlocks(plugin, KIND_SET, keys, views, count);
}

uint64_t lmc_submit_batch_delete(lmc_plugin* plugin, const lmc_key* keys, uint32_t count) {
  const Call call = {{0, KIND_DELETE, 0, count}, NULL, NULL};
  return Submit(plugin, keys, call);
}

uint64_t lmc_submit_batch_exists(lmc_plugin* plugin, const lmc_key* keys, uint32_t count) {
  const terrace_group_policy policy = {0, TERRACE_STOP_SPARSE, 0, 0};
  terrace_match_query query = TERRACE_MATCH_QUERY_INIT;
  query.groups = &policy;
  query.group_count = 1;
  const Call call = {{0, KIND_EXISTS, LMC_TRIM_SPARSE, count}, NULL, &query};
  return Submit(plugin, keys, call);
}

uint64_t lmc_submit_lookup_and_lock(lmc_plugin* plugin, const lmc_key* keys, uint32_t count,
                                    int trim, uint32_t ttl_ms) {
  const terrace_group_policy policy = {
      0, trim == LMC_TRIM_PREFIX ? TERRACE_STOP_ALL : TERRACE_STOP_SPARSE, 0, 0};
  terrace_match_query query = TERRACE_MATCH_QUERY_INIT;
  query.mode = TERRACE_MATCH_LEASE;
  query.groups = &policy;
  query.group_count = 1;
  query.lease_ms = ttl_ms;
  const Call call = {{0, KIND_LOOKUP, trim, count}, NULL, &query};
  return Submit(plugin, keys, call);
}

void lmc_unlock(lmc_plugin* plugin, uint64_t lock) {
  (void)terrace_release_lease(plugin->client, lock, NULL);
}

int lmc_renew(lmc_plugin* plugin, uint64_t lock, uint32_t ttl_ms) {
  return terrace_renew_lease(plugin->client, lock, ttl_ms, terrace_in_ms(plugin->operation_ms),
                             NULL) == TERRACE_OK;
}

int lmc_quiet(lmc_plugin* plugin) {
  return terrace_quiesce(plugin->client, plugin->region, terrace_in_ms(0), NULL) == TERRACE_OK;
}

/* ---- draining ---- */

static Operation Take(lmc_plugin* plugin, uint64_t id) {
  Operation taken = {0, KIND_FREE, 0, 0};
  pthread_mutex_lock(&plugin->mutex);
  for (uint32_t i = 0; i < LMC_OPERATIONS_MAX; ++i) {
    Operation* operation = &plugin->operations[i];
    if (operation->kind == KIND_FREE || operation->id != id) continue;
    taken = *operation;
    operation->kind = KIND_FREE;
    break;
  }
  pthread_mutex_unlock(&plugin->mutex);
  return taken;
}

static int Good(int kind, terrace_status status) {
  if (status == TERRACE_OK) return 1;
  /* Stored by somebody else, or just being stored: as good as stored. */
  return kind == KIND_SET && (status == TERRACE_EXISTS || status == TERRACE_PENDING);
}

static void ReadAnswer(const Operation* operation, const terrace_answer* answer,
                       lmc_completion* out) {
  out->ok = answer->status == TERRACE_OK;
  (void)snprintf(out->error, sizeof out->error, "%s", answer->message);
  if (!out->ok) return;
  if (operation->kind == KIND_EXISTS || operation->kind == KIND_LOOKUP) {
    const uint32_t end = operation->trim == LMC_TRIM_PREFIX ? answer->matched : operation->count;
    for (uint32_t i = 0; i < end; ++i) {
      out->bits[i] = answer->groups[0].presence[i] == TERRACE_PRESENCE_READY;
    }
    out->lock = answer->lease;
    out->lock_status = operation->kind == KIND_LOOKUP ? answer->lease_status : TERRACE_OK;
    return;
  }
  for (uint32_t i = 0; i < operation->count && i < answer->block_count; ++i) {
    const terrace_status status = answer->blocks[i].status;
    out->bits[i] = (uint8_t)Good(operation->kind, status);
    if (status == TERRACE_IN_DOUBT) out->in_doubt = 1;
  }
}

static uint32_t DrainRefused(lmc_plugin* plugin, lmc_completion* completions, uint32_t capacity) {
  uint32_t drained = 0;
  pthread_mutex_lock(&plugin->mutex);
  while (drained < capacity && plugin->refused_count > 0) {
    const Refused* refused = &plugin->refused[--plugin->refused_count];
    lmc_completion* out = &completions[drained++];
    memset(out, 0, sizeof *out);
    out->id = refused->id;
    out->count = refused->count;
    memcpy(out->error, refused->error, sizeof out->error);
  }
  uint64_t count = 0;
  if (plugin->refused_count == 0) (void)!read(plugin->refused_fd, &count, sizeof count);
  pthread_mutex_unlock(&plugin->mutex);
  return drained;
}

uint32_t lmc_drain_completions(lmc_plugin* plugin, lmc_completion* completions, uint32_t capacity) {
  uint32_t drained = DrainRefused(plugin, completions, capacity);
  while (drained < capacity) {
    terrace_result result = 0;
    uint64_t count = 0;
    if (terrace_poll(plugin->client, &result, 1, &count, NULL) != TERRACE_OK || count == 0) break;
    terrace_answer answer;
    memset(&answer, 0, sizeof answer);
    answer.struct_size = sizeof answer;
    if (terrace_result_answer(result, &answer, NULL) == TERRACE_OK) {
      const Operation operation = Take(plugin, answer.ticket);
      lmc_completion* out = &completions[drained++];
      memset(out, 0, sizeof *out);
      out->id = answer.ticket;
      out->count = operation.count;
      ReadAnswer(&operation, &answer, out);
    }
    (void)terrace_result_free(result, NULL);
  }
  return drained;
}
