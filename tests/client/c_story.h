// CStory: a program in C11 that uses terrace.h, as a function that the tests call.
#pragma once

#include "client/terrace.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Connects, puts `blocks` blocks, gets them by waiting and by submitting, closes. Fills `error`
/// with the call that failed and returns its status; TERRACE_CORRUPT when a byte came back wrong.
terrace_status CStory(const char* address, uint32_t blocks, terrace_error* error);

/// Puts two blocks from pieces, gets a part of one, writes one in fragments; what overlaps, what is
/// not complete and what is over must be refused. TERRACE_INTERNAL: it was not. Else as CStory.
terrace_status CPiecesStory(const char* address, terrace_error* error);

/// Of the header that the C files were compiled with.
uint32_t CLayoutVersion(void);

#ifdef __cplusplus
}
#endif
