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
#define MOST_PARTS 16

typedef struct {
    uint8_t *space; /* as many bytes as the job asked for, aligned to 64 */
    int threads;
    _Atomic uint32_t arrived, round;
    _Atomic int32_t next[MOST_PARTS];
} team;

typedef void job(void *context, team *team, int thread);

/* Run `work` on at most `threads` threads, the caller's among them, and return when all are done. Callers wait for one
   another. Returns 0, or -1 when there is no memory for `bytes` of space. */
int run_job(job *work, void *context, int threads, size_t bytes);

/* Wait until every thread of the team is here. */
void meet(team *team);

/* The next of `count` pieces of part `part`, or -1 when all are taken. */
static inline int take(team *team, int part, int count) {
    int piece = atomic_fetch_add_explicit(&team->next[part], 1, memory_order_relaxed);
    return piece < count ? piece : -1;
}

#endif
