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

/* The part that a get asks for: STRETCHES of STRETCH bytes, STRIDE apart. */
enum { PART_OFFSET = 5000, STRETCH = 1000, STRIDE = 3000, STRETCHES = 5, FIRST_PIECE = 3500 };

static unsigned char ByteOf(uint32_t block, size_t at) {
  return (unsigned char)((at * 2654435761U + block * 40503U) >> 11);
}

static void FillUnlike(Story* story, uint32_t blocks) {
  for (size_t i = 0; i < (size_t)blocks * BLOCK_BYTES; ++i) {
    story->memory[i] = ByteOf((uint32_t)(i / BLOCK_BYTES), i % BLOCK_BYTES);
  }
}

static terrace_piece PieceAt(const Story* story, uint64_t offset, uint64_t length) {
  terrace_piece piece = {offset, length, story->region, 0};
  return piece;
}

/* Block 0 from its halves in the other order, block 1 from one piece. */
static terrace_status PutInPieces(Story* story, terrace_error* error) {
  FillUnlike(story, 2);
  const uint64_t half = BLOCK_BYTES / 2;
  const terrace_piece pieces[3] = {PieceAt(story, half, half), PieceAt(story, 0, half),
                                   PieceAt(story, BLOCK_BYTES, BLOCK_BYTES)};
  terrace_block_pieces blocks[2] = {{0, 0, 2, 0, {0}}, {1, 0, 1, 0, {0}}};
  if (terrace_put_pieces(story->client, story->space, story->chain, story->kind, blocks, 2, pieces,
                         3, TERRACE_ACK_COMMITTED, terrace_in_ms(20000), story->results,
                         error) != TERRACE_OK) {
    return error->status;
  }
  return CheckBlocks(story->results, 2);
}

/* Whether the part lies in memory: FIRST_PIECE bytes of it at BLOCK_BYTES, the rest at 0. */
static int HoldsPart(const Story* story) {
  for (size_t i = 0; i < (size_t)STRETCHES * STRETCH; ++i) {
    size_t of_block = PART_OFFSET + i / STRETCH * STRIDE + i % STRETCH;
    of_block = (of_block + BLOCK_BYTES / 2) % BLOCK_BYTES; /* the halves were put the other way */
    const size_t at = i < FIRST_PIECE ? BLOCK_BYTES + i : i - FIRST_PIECE;
    if (story->memory[at] != ByteOf(0, of_block)) return 0;
  }
  return 1;
}

/* A part of block 0 into two pieces, by waiting and by submitting; what overlaps is refused. */
static terrace_status GetPart(Story* story, terrace_error* error) {
  const uint64_t bytes = (uint64_t)STRETCHES * STRETCH;
  terrace_piece pieces[2] = {PieceAt(story, BLOCK_BYTES, FIRST_PIECE),
                             PieceAt(story, 0, bytes - FIRST_PIECE)};
  terrace_block_pieces block = {0, 0, 2, 0, {PART_OFFSET, STRETCH, STRIDE, STRETCHES, 0}};
  memset(story->memory, 0, (size_t)2 * BLOCK_BYTES);
  if (terrace_get_pieces(story->client, story->space, story->chain, story->kind, &block, 1, pieces,
                         2, terrace_in_ms(20000), story->results, error) != TERRACE_OK) {
    return error->status;
  }
  terrace_status status = CheckBlocks(story->results, 1);
  if (status != TERRACE_OK) return status;
  if (!HoldsPart(story)) return TERRACE_CORRUPT;

  memset(story->memory, 0, (size_t)2 * BLOCK_BYTES);
  terrace_ticket ticket = 0;
  if (terrace_submit_get_pieces(story->client, story->space, story->chain, story->kind, &block, 1,
                                pieces, 2, terrace_in_ms(20000), &ticket, error) != TERRACE_OK) {
    return error->status;
  }
  status = Finish(story, ticket, error);
  if (status != TERRACE_OK) return status;
  if (!HoldsPart(story)) return TERRACE_CORRUPT;

  pieces[1].offset = BLOCK_BYTES + FIRST_PIECE - 1;
  if (terrace_get_pieces(story->client, story->space, story->chain, story->kind, &block, 1, pieces,
                         2, terrace_in_ms(20000), story->results, error) != TERRACE_INVALID) {
    return TERRACE_INTERNAL;
  }
  return strstr(error->message, "blocks[0].pieces[1] overlaps") != NULL ? TERRACE_OK
                                                                        : TERRACE_INTERNAL;
}

/* Writes bytes [offset, offset + length) of block 2, which lies at the start of the memory. */
static terrace_status WritePart(Story* story, const terrace_put_token* token, uint64_t offset,
                                uint64_t length, terrace_error* error) {
  const terrace_fragment fragment = {offset, 1, 0};
  const terrace_piece piece = PieceAt(story, offset, length);
  if (terrace_write(story->client, token, &fragment, 1, &piece, 1, terrace_in_ms(20000),
                    story->results, error) != TERRACE_OK) {
    return error->status;
  }
  return story->results[0].status;
}

/* Block 2 in two fragments; it cannot be committed before both are there, nor written after. */
static terrace_status WriteTogether(Story* story, terrace_error* error) {
  for (size_t i = 0; i < BLOCK_BYTES; ++i) story->memory[i] = ByteOf(2, i);
  terrace_status reserved = TERRACE_INTERNAL;
  terrace_put_token token;
  if (terrace_reserve(story->client, story->space, story->chain, story->kind, 2, 0, 0,
                      terrace_in_ms(20000), &reserved, &token, error) != TERRACE_OK) {
    return error->status;
  }
  if (reserved != TERRACE_OK) return reserved;
  const uint64_t cut = 12345;
  terrace_status status = WritePart(story, &token, cut, BLOCK_BYTES - cut, error);
  if (status != TERRACE_OK) return status;
  terrace_block_result result;
  if (terrace_commit(story->client, &token, TERRACE_ACK_COMMITTED, terrace_in_ms(20000), &result,
                     error) != TERRACE_INVALID) {
    return TERRACE_INTERNAL;
  }
  status = WritePart(story, &token, 0, cut, error);
  if (status != TERRACE_OK) return status;
  if (terrace_commit(story->client, &token, TERRACE_ACK_COMMITTED, terrace_in_ms(20000), &result,
                     error) != TERRACE_OK) {
    return error->status;
  }
  if (result.status != TERRACE_OK) return result.status;
  if (WritePart(story, &token, 0, cut, error) != TERRACE_EXPIRED) return TERRACE_INTERNAL;

  memset(story->memory, 0, BLOCK_BYTES);
  terrace_block block = story->blocks[2];
  block.offset = 0;
  if (terrace_get(story->client, story->space, story->chain, story->kind, &block, 1,
                  terrace_in_ms(20000), story->results, error) != TERRACE_OK) {
    return error->status;
  }
  for (size_t i = 0; i < BLOCK_BYTES; ++i) {
    if (story->memory[i] != ByteOf(2, i)) return TERRACE_CORRUPT;
  }
  return story->results[0].status;
}

terrace_status CPiecesStory(const char* address, terrace_error* error) {
  Story* story = calloc(1, sizeof *story);
  if (story == NULL) return TERRACE_RETRY;
  terrace_status status = Open(story, address, 4, error);
  if (status == TERRACE_OK) status = PutInPieces(story, error);
  if (status == TERRACE_OK) status = GetPart(story, error);
  if (status == TERRACE_OK) status = WriteTogether(story, error);
  terrace_chain_free(story->chain, NULL);
  terrace_close(story->client, NULL);
  free(story);
  return status;
}
