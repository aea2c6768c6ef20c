#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "hearth.h"

#if defined(__x86_64__) || defined(__i386__)
#define RELAX __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX __asm__ volatile("yield")
#else
#define RELAX ((void)0)
#endif

/* How often to look at a word before going to sleep over it: some fifty microseconds. */
#define LOOKS 3000

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER; /* held while a job runs */
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static _Atomic int sleepers;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static pthread_t workers[MOST_THREADS];
static int worker_count;

/* The number of the current job, times 512, plus its threads. None at all tells the workers to end. */
static _Atomic uint32_t call;
static job *current_work;
static void *current_context;
static team current_team;
static uint8_t *space;
static size_t space_bytes;

static void wait_for_change(_Atomic uint32_t *word, uint32_t old) {
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old) return;
        RELAX;
    }
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&sleepers, 1);
    while (atomic_load(word) == old) pthread_cond_wait(&woken, &sleep_lock);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&sleep_lock);
}

/* Store `value` and wake whoever sleeps over the word. */
static void change(_Atomic uint32_t *word, uint32_t value) {
    atomic_store(word, value);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&sleep_lock);
        pthread_cond_broadcast(&woken);
        pthread_mutex_unlock(&sleep_lock);
    }
}

void meet(team *team) {
    if (team->threads == 1) return;
    uint32_t round = atomic_load(&team->round);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == (uint32_t)team->threads) {
        atomic_store(&team->arrived, 0);
        change(&team->round, round + 1);
    } else
        wait_for_change(&team->round, round);
}

typedef struct {
    int thread;
    uint32_t seen;
} start;

static start starts[MOST_THREADS];

static void *work_on_jobs(void *argument) {
    start own = *(start *)argument;
    for (;;) {
        wait_for_change(&call, own.seen);
        /* One word says which job and for how many: a worker that is left out may sleep through any number of jobs. */
        own.seen = atomic_load(&call);
        int threads = own.seen % 512;
        if (threads == 0) return NULL;
        if (own.thread < threads) {
            current_work(current_context, &current_team, own.thread);
            meet(&current_team);
        }
    }
}

static void before_fork(void) { pthread_mutex_lock(&callers); }

static void in_parent(void) { pthread_mutex_unlock(&callers); }

/* The workers did not come along, and what they held or waited for is nobody's now. */
static void in_child(void) {
    worker_count = 0;
    atomic_store(&sleepers, 0);
    pthread_mutex_init(&sleep_lock, NULL);
    pthread_cond_init(&woken, NULL);
    pthread_mutex_init(&callers, NULL);
}

static void prepare(void) { pthread_atfork(before_fork, in_parent, in_child); }

/* Have `count` workers, or as many as the system allows; they leave signals to the threads that expect them. */
static void hire(int count) {
    if (worker_count >= count) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (worker_count < count) {
        starts[worker_count] = (start){worker_count + 1, atomic_load(&call)};
        if (pthread_create(&workers[worker_count], NULL, work_on_jobs, &starts[worker_count])) break;
        worker_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void announce(int threads) { change(&call, (atomic_load(&call) / 512 + 1) * 512 + (uint32_t)threads); }

int run_job(job *work, void *context, int threads, int parts, size_t bytes) {
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    size_t counters = ((size_t)parts * (size_t)threads * sizeof(int32_t) + 63) / 64 * 64;
    bytes += counters;
    pthread_once(&prepared, prepare);
    pthread_mutex_lock(&callers);
    if (bytes > space_bytes) {
        free(space);
        space_bytes = (bytes + 4095) / 4096 * 4096;
        space = aligned_alloc(4096, space_bytes);
        if (!space) {
            space_bytes = 0;
            pthread_mutex_unlock(&callers);
            return -1;
        }
    }
    hire(threads - 1);
    threads = threads > worker_count + 1 ? worker_count + 1 : threads;
    memset(space, 0, counters);
    current_team.next = (_Atomic int32_t *)space;
    current_team.space = space + counters;
    current_team.threads = threads;
    current_work = work;
    current_context = context;
    if (threads > 1) announce(threads);
    work(context, &current_team, 0);
    meet(&current_team);
    pthread_mutex_unlock(&callers);
    return 0;
}

void hearth_stop(void) {
    pthread_mutex_lock(&callers);
    announce(0);
    for (int i = 0; i < worker_count; i++) pthread_join(workers[i], NULL);
    worker_count = 0;
    free(space);
    space = NULL;
    space_bytes = 0;
    pthread_mutex_unlock(&callers);
}
