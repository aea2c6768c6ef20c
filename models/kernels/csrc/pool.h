/* Threads that share out one job at a time.

   A job is a function that every thread runs, the caller being number 0. Barriers separate its parts, and within a part
   threads take pieces from a counter, so that a thread that is held up holds up nobody else. Between jobs, workers look
   out for the next one for some fifty microseconds, then sleep. */

#ifndef POOL_H
#define POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_THREADS 256

typedef struct {
    uint8_t *space; /* as many bytes as the job asked for, aligned to 64 */
    int threads;
    _Atomic uint32_t arrived, round;
    _Atomic int32_t *next; /* for each part, one counter for each thread */
} team;

typedef void job(void *context, team *team, int thread);

/* Run `work` on at most `threads` threads, the caller's among them, and return when all are done. Callers wait for one
   another. The job has `parts` parts. Returns 0, or -1 when there is no memory for `bytes` of space. */
int run_job(job *work, void *context, int threads, int parts, size_t bytes);

/* Wait until every thread of the team is here. */
void meet(team *team);

/* The next of `count` pieces of part `part` for this thread, or -1 when all are taken. Every thread begins in a stretch of
   its own, so that it reads memory in order; when that is used up, it takes from the others'. */
static inline int take(team *team, int part, int thread, int count) {
    _Atomic int32_t *next = team->next + (size_t)part * team->threads;
    for (int i = 0, owner = thread; i < team->threads; i++) {
        int64_t first = (int64_t)count * owner / team->threads, end = (int64_t)count * (owner + 1) / team->threads;
        if (first + atomic_load_explicit(&next[owner], memory_order_relaxed) < end) {
            int64_t piece = first + atomic_fetch_add_explicit(&next[owner], 1, memory_order_relaxed);
            if (piece < end) return (int)piece;
        }
        owner = owner + 1 == team->threads ? 0 : owner + 1;
    }
    return -1;
}

#endif
