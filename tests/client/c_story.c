#include "tests/client/c_story.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 << 10, KEY_BYTES = 16, BLOCKS_MAX = 64 };

/* What the story needs while it runs. */
typedef struct Story {
  terrace_client client;
  terrace_chain chain;
  terrace_space space;
  terrace_region region;
  terrace_kind kind;
  unsigned char* memory;
  terrace_block blocks[BLOCKS_MAX];
  terrace_block_result results[BLOCKS_MAX];
} Story;

static void Fill(Story* story, uint32_t blocks) {
  for (uint32_t i = 0; i < blocks; ++i) {
    memset(story->memory + (size_t)i * BLOCK_BYTES, (int)(i + 1), BLOCK_BYTES);
  }
}

static int Holds(const Story* story, uint32_t blocks) {
  for (size_t i = 0; i < (size_t)blocks * BLOCK_BYTES; ++i) {
    if (story->memory[i] != (unsigned char)(i / BLOCK_BYTES + 1)) return 0;
  }
  return 1;
}

static terrace_status Open(Story* story, const char* address, uint32_t blocks,
                           terrace_error* error) {
  terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  options.address = address;
  options.connect_timeout_ms = 20000;
  if (terrace_connect(&options, &story->client, error) != TERRACE_OK) return error->status;

  terrace_group group = {0, 0, "full", BLOCK_BYTES};
  terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
  descriptor.name = "c";
  descriptor.model = "test";
  descriptor.block_tokens = 16;
  descriptor.run_blocks = 4;
  descriptor.groups = &group;
  descriptor.group_count = 1;
  if (terrace_open_namespace(story->client, &descriptor, terrace_in_ms(20000), &story->space,
                             error) != TERRACE_OK) {
    return error->status;
  }

  unsigned char keys[BLOCKS_MAX * KEY_BYTES] = {0};
  for (uint32_t i = 0; i < blocks; ++i) keys[i * KEY_BYTES] = (unsigned char)(i + 1);
  if (terrace_chain_new(&story->chain, error) != TERRACE_OK ||
      terrace_chain_append(story->chain, keys, KEY_BYTES, blocks, error) != TERRACE_OK) {
    return error->status;
  }
  void* memory = NULL;
  if (terrace_allocate_region(story->client, (uint64_t)blocks * BLOCK_BYTES, &story->region,
                              error) != TERRACE_OK ||
      terrace_region_memory(story->client, story->region, &memory, NULL, error) != TERRACE_OK) {
    return error->status;
  }
  story->memory = memory;
  for (uint32_t i = 0; i < blocks; ++i) {
    story->blocks[i].position = i;
    story->blocks[i].region = story->region;
    story->blocks[i].offset = (uint64_t)i * BLOCK_BYTES;
  }
  return TERRACE_OK;
}

static terrace_status CheckBlocks(const terrace_block_result* results, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    if (results[i].status != TERRACE_OK && results[i].status != TERRACE_EXISTS) {
      return results[i].status;
    }
  }
  return TERRACE_OK;
}

/* Waits for the completion as an event loop does: on the descriptor. */
static terrace_status Finish(Story* story, terrace_ticket ticket, terrace_error* error) {
  struct pollfd readable = {-1, POLLIN, 0};
  if (terrace_completion_fd(story->client, &readable.fd, error) != TERRACE_OK) {
    return error->status;
  }
  if (poll(&readable, 1, 20000) != 1) return TERRACE_TIMEOUT;
  terrace_result result = 0;
  uint64_t count = 0;
  if (terrace_poll(story->client, &result, 1, &count, error) != TERRACE_OK) return error->status;
  if (count != 1) return TERRACE_INTERNAL;
  terrace_answer answer;
  answer.struct_size = sizeof answer;
  if (terrace_result_answer(result, &answer, error) != TERRACE_OK) return error->status;
  terrace_status status = answer.ticket == ticket ? answer.status : TERRACE_INTERNAL;
  if (status == TERRACE_OK) status = CheckBlocks(answer.blocks, answer.block_count);
  if (terrace_result_free(result, error) != TERRACE_OK) return error->status;
  return status;
}

static terrace_status Exchange(Story* story, uint32_t blocks, terrace_error* error) {
  Fill(story, blocks);
  if (terrace_put(story->client, story->space, story->chain, story->kind, story->blocks, blocks,
                  TERRACE_ACK_COMMITTED, terrace_in_ms(20000), story->results,
                  error) != TERRACE_OK) {
    return error->status;
  }
  terrace_status status = CheckBlocks(story->results, blocks);
  if (status != TERRACE_OK) return status;

  uint32_t matched = 0;
  uint8_t tiers[BLOCKS_MAX];
  if (terrace_match(story->client, story->space, story->chain, story->kind, terrace_in_ms(20000),
                    &matched, tiers, error) != TERRACE_OK) {
    return error->status;
  }
  if (matched != blocks || tiers[blocks - 1] != TERRACE_TIER_DRAM) return TERRACE_MISS;

  memset(story->memory, 0, (size_t)blocks * BLOCK_BYTES);
  if (terrace_get(story->client, story->space, story->chain, story->kind, story->blocks, blocks,
                  terrace_in_ms(20000), story->results, error) != TERRACE_OK) {
    return error->status;
  }
  status = CheckBlocks(story->results, blocks);
  if (status != TERRACE_OK) return status;
  if (!Holds(story, blocks)) return TERRACE_CORRUPT;

  memset(story->memory, 0, (size_t)blocks * BLOCK_BYTES);
  terrace_ticket ticket = 0;
  if (terrace_submit_get(story->client, story->space, story->chain, story->kind, story->blocks,
                         blocks, terrace_in_ms(20000), &ticket, error) != TERRACE_OK) {
    return error->status;
  }
  status = Finish(story, ticket, error);
  if (status != TERRACE_OK) return status;
  return Holds(story, blocks) ? TERRACE_OK : TERRACE_CORRUPT;
}

terrace_status CStory(const char* address, uint32_t blocks, terrace_error* error) {
  Story* story = calloc(1, sizeof *story);
  if (story == NULL) return TERRACE_RETRY;
  terrace_status status = Open(story, address, blocks, error);
  if (status == TERRACE_OK) status = Exchange(story, blocks, error);
  terrace_chain_free(story->chain, NULL);
  terrace_close(story->client, NULL);
  free(story);
  return status;
}
