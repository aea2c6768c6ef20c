#include <stdatomic.h>
#include <string.h>

#include "hearth.h"

static _Atomic(const level *) chosen;

static int supported(const level *level) {
#if defined(__x86_64__)
    if (level == &level_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni") && supported(&level_avx2);
    if (level == &level_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#endif
    return level == &level_plain;
}

static const level *const all[] = {
#if defined(__x86_64__)
    &level_avx512, &level_avx2,
#endif
    &level_plain,
};

#define COUNT (sizeof all / sizeof *all)

const level *current_level(void) {
    const level *level = atomic_load_explicit(&chosen, memory_order_acquire);
    for (size_t i = 0; !level; i++)
        if (supported(all[i])) atomic_store(&chosen, level = all[i]);
    return level;
}

int hearth_interface(void) { return INTERFACE; }

const char *hearth_level(void) { return current_level()->name; }

int hearth_use(const char *name) {
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(all[i]->name, name) && supported(all[i])) {
            atomic_store(&chosen, all[i]);
            return 0;
        }
    return -1;
}
