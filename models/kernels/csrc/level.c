/* All that is compiled once for each level. LEVEL is its name; the compiler's options (build.py) allow its instructions,
   and nothing here runs before the processor has been asked for them. */

#include "level.h"

#include <math.h>
#include <string.h>

#include "block.h"
#include "vec.h"

#define MULTIPLY                                                                                                       \
    const uint8_t *panel, const uint8_t *block, int groups, float *out, int64_t stride, int width, int add,            \
        const float *bias
#define Q8_SCALE_BYTES(groups) (((groups)*32 + 63) / 64 * 64)

#if defined(__AVX512VNNI__)
#include "matmul_avx512.h"
#elif defined(__AVX2__)
#include "matmul_avx2.h"
#else
#include "matmul_plain.h"
#endif

#define FOR_ROWS(kind, rows)                                                                                           \
    static void kind##_##rows(MULTIPLY) { kind(panel, block, groups, out, stride, width, add, bias, rows); }
#define FOR_ALL_ROWS(kind)                                                                                             \
    FOR_ROWS(kind, 1) FOR_ROWS(kind, 2) FOR_ROWS(kind, 3) FOR_ROWS(kind, 4) FOR_ROWS(kind, 5) FOR_ROWS(kind, 6)        \
    FOR_ROWS(kind, 7) FOR_ROWS(kind, 8) FOR_ROWS(kind, 9) FOR_ROWS(kind, 10) FOR_ROWS(kind, 11) FOR_ROWS(kind, 12)     \
    FOR_ROWS(kind, 13) FOR_ROWS(kind, 14) FOR_ROWS(kind, 15) FOR_ROWS(kind, 16)
#define ALL_ROWS(kind)                                                                                                 \
    {kind##_1, kind##_2,  kind##_3,  kind##_4,  kind##_5,  kind##_6,  kind##_7,  kind##_8,                             \
     kind##_9, kind##_10, kind##_11, kind##_12, kind##_13, kind##_14, kind##_15, kind##_16}

FOR_ALL_ROWS(q4)
FOR_ALL_ROWS(q4k)
FOR_ALL_ROWS(q6k)
FOR_ALL_ROWS(q8)

#include "rows.h"
#include "attention.h"

const level NAMED(level) = {
    .name = TEXT(LEVEL),
    .multiply = {[Q4] = ALL_ROWS(q4), [Q4K] = ALL_ROWS(q4k), [Q6K] = ALL_ROWS(q6k), [Q8] = ALL_ROWS(q8)},
    .norm_factor = norm_factor,
    .quantise = quantise,
    .gate_group = gate_group,
    .rotate = rotate,
    .put = put,
    .attend = attend,
};
