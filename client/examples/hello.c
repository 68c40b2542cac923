/* Hello, Terrace, in C: puts one prompt's blocks into a daemon, asks for them again, looks at them
   in the daemon's own memory, checks every byte.

     terraced --config terraced.toml &
     hello 127.0.0.1:7420                                                                       */
#include <stdio.h>
#include <string.h>

#ifdef TERRACE_INSTALLED
#include <terrace/terrace.h>
#else
#include "client/terrace.h"
#endif

enum { BLOCKS = 8, BLOCK_BYTES = 256 << 10, KEY_BYTES = 32 };

static terrace_error error; /* of the last call */

static int Fail(const char* what) {
  fprintf(stderr, "%s: %s: %s\n", what, terrace_status_name(error.status), error.message);
  return 1;
}

/* The byte that block `block` is filled with; 0 is left for "never written". */
static int Fill(unsigned block) { return (int)block + 1; }

static int Holds(const void* bytes, unsigned block) {
  for (size_t at = 0; at < BLOCK_BYTES; ++at) {
    if (((const unsigned char*)bytes)[at] != Fill(block)) return 0;
  }
  return 1;
}

/* Looks at block 0 without a copy. Where the daemon lends nothing (another host), get is all. */
static int Lend(terrace_client client, terrace_space space, terrace_chain chain) {
  const terrace_kind kind = {0, 0};
  const uint32_t position = 0;
  terrace_result result;
  if (terrace_lend(client, space, chain, kind, &position, 1, 0, terrace_in_ms(1000), &result,
                   &error) != TERRACE_OK) {
    return Fail("lend");
  }
  terrace_answer answer;
  answer.struct_size = sizeof answer;
  if (terrace_result_answer(result, &answer, &error) != TERRACE_OK) return Fail("answer");
  if (answer.lent[0].status == TERRACE_OK) {
    const int right = Holds(answer.lent[0].data, 0);
    /* Read first, then give back, then use: only now it is certain that it was the block. */
    if (terrace_lent_release(result, 0, &error) != TERRACE_OK) return Fail("release");
    if (!right) return Fail("verify the lent block");
  }
  printf("block 0 in the daemon's memory: %s\n", terrace_status_name(answer.lent[0].status));
  return terrace_result_free(result, &error) == TERRACE_OK ? 0 : Fail("free");
}

static int Exchange(terrace_client client, terrace_space space, terrace_chain chain) {
  const terrace_kind kind = {0, 0};
  terrace_region region;
  void* memory;
  if (terrace_allocate_region(client, BLOCKS * BLOCK_BYTES, &region, &error) != TERRACE_OK ||
      terrace_region_memory(client, region, &memory, NULL, &error) != TERRACE_OK) {
    return Fail("allocate");
  }
  terrace_block blocks[BLOCKS];
  memset(blocks, 0, sizeof blocks);
  for (unsigned i = 0; i < BLOCKS; ++i) {
    blocks[i].position = i;
    blocks[i].region = region;
    blocks[i].offset = (uint64_t)i * BLOCK_BYTES;
    memset((char*)memory + blocks[i].offset, Fill(i), BLOCK_BYTES);
  }

  uint32_t matched;
  if (terrace_match(client, space, chain, kind, terrace_in_ms(1000), &matched, NULL, &error) !=
      TERRACE_OK) {
    return Fail("match");
  }
  printf("%u of %d blocks are stored already\n", (unsigned)matched, BLOCKS);

  terrace_block_result results[BLOCKS];
  if (terrace_put(client, space, chain, kind, blocks, BLOCKS, TERRACE_ACK_COMMITTED,
                  terrace_in_ms(5000), results, &error) != TERRACE_OK) {
    return Fail("put");
  }
  memset(memory, 0, BLOCKS * BLOCK_BYTES);
  if (terrace_get(client, space, chain, kind, blocks, BLOCKS, terrace_in_ms(5000), results,
                  &error) != TERRACE_OK) {
    return Fail("get");
  }
  for (unsigned i = 0; i < BLOCKS; ++i) {
    error.status = results[i].status; /* a real engine computes what is not TERRACE_OK */
    if (results[i].status != TERRACE_OK) return Fail("get a block");
    if (!Holds((char*)memory + blocks[i].offset, i)) return Fail("verify");
  }
  const char* link;
  if (terrace_link_name(client, &link, &error) != TERRACE_OK) return Fail("link");
  printf("%d blocks of %d bytes came back right, by %s\n", BLOCKS, BLOCK_BYTES, link);
  return Lend(client, space, chain);
}

int main(int argc, char** argv) {
  terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  options.name = "hello";
  if (argc > 1) options.address = argv[1];
  terrace_client client;
  if (terrace_connect(&options, &client, &error) != TERRACE_OK) return Fail("connect");

  /* Everything that changes the bytes of a block stands in its namespace. */
  const terrace_group group = {0, 0, "full", BLOCK_BYTES};
  terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
  descriptor.name = "hello";
  descriptor.model = "none/hello";
  descriptor.block_tokens = 64;
  descriptor.groups = &group;
  descriptor.group_count = 1;
  terrace_space space;
  if (terrace_open_namespace(client, &descriptor, terrace_in_ms(1000), &space, &error) !=
      TERRACE_OK) {
    return Fail("open namespace");
  }

  /* Keys of the prompt's blocks, in prefix order. Engines use chained hashes. */
  char keys[BLOCKS][KEY_BYTES] = {{0}};
  for (int i = 0; i < BLOCKS; ++i) snprintf(keys[i], KEY_BYTES, "hello block %d in C", i);
  terrace_chain chain;
  if (terrace_chain_new(&chain, &error) != TERRACE_OK ||
      terrace_chain_append(chain, keys, KEY_BYTES, BLOCKS, &error) != TERRACE_OK) {
    return Fail("chain");
  }
  const int failed = Exchange(client, space, chain);
  terrace_chain_free(chain, NULL);
  terrace_close(client, NULL);
  return failed;
}
