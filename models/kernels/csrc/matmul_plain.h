/* Panels times blocks in plain C: what every other level must agree with to the last bit. */

#include <math.h>

#include "half.h"

#define INLINE static inline
#define UNROLL

INLINE void finish(const float *sums, int rows, float *out, int64_t stride, int width, int add, const float *bias) {
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < width; o++) {
            float sum = sums[r * PANEL + o] + (bias ? bias[o] : 0.0f);
            out[r * stride + o] = add ? sum + out[r * stride + o] : sum;
        }
}

/* The values of a group, four inputs of every output together, as they lie in a panel: [8][16][4]. */
INLINE void unpack_nibbles(const uint8_t *at, uint8_t *quads) {
    for (int i = 0; i < 256; i++) {
        quads[i] = at[i] & 15;
        quads[256 + i] = at[i] >> 4;
    }
}

/* dots[o] += quads [count][16][4] times values [count][4]. */
INLINE void add_dots(const uint8_t *quads, const int8_t *values, int count, int32_t *dots) {
    for (int i = 0; i < count; i++)
        for (int o = 0; o < PANEL; o++) {
            const uint8_t *w = quads + i * 64 + o * 4;
            const int8_t *a = values + i * 4;
            dots[o] += w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3];
        }
}

INLINE void add_with_minimum(
    const uint8_t *quads, const float *scale, const float *minimum, const uint8_t *group, int rows, float *sums) {
    for (int r = 0; r < rows; r++, sums += PANEL) {
        int32_t dots[PANEL] = {0};
        add_dots(quads, (const int8_t *)group + r * GROUP, 8, dots);
        for (int o = 0; o < PANEL; o++) {
            sums[o] = fmaf((float)dots[o] * scales_of(group, rows)[r], scale[o], sums[o]);
            sums[o] = fmaf(minimum[o], sums_of(group, rows)[r], sums[o]);
        }
    }
}

INLINE void q4(MULTIPLY, int rows) {
    float sums[MOST_ROWS * PANEL] = {0}, scale[PANEL], minimum[PANEL];
    uint8_t quads[512];
    for (int g = 0; g < groups; g++, panel += 320, block += rows * ROW_GROUP_BYTES) {
        unpack_nibbles(panel + 64, quads);
        for (int o = 0; o < PANEL; o++) {
            scale[o] = half_float(panel + 2 * o);
            minimum[o] = half_float(panel + 32 + 2 * o);
        }
        add_with_minimum(quads, scale, minimum, block, rows, sums);
    }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q4k(MULTIPLY, int rows) {
    float sums[MOST_ROWS * PANEL] = {0}, scale[PANEL], minimum[PANEL];
    uint8_t quads[512];
    for (int s = 0; s < groups; s += 8, panel += 2368)
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            unpack_nibbles(panel + 320 + 256 * g, quads);
            for (int o = 0; o < PANEL; o++) {
                scale[o] = half_float(panel + 2 * o) * panel[64 + 32 * g + o];
                minimum[o] = half_float(panel + 32 + 2 * o) * panel[80 + 32 * g + o];
            }
            add_with_minimum(quads, scale, minimum, block, rows, sums);
        }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q6k(MULTIPLY, int rows) {
    float sums[MOST_ROWS * PANEL] = {0}, scale0[PANEL], scale1[PANEL];
    uint8_t quads[512];
    for (int s = 0; s < groups; s += 8, panel += 3392)
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            const uint8_t *at = panel + 320 + 384 * g;
            unpack_nibbles(at, quads);
            for (int i = 0; i < 64; i++)
                for (int q = 0; q < 4; q++) {
                    quads[64 * q + i] |= (at[256 + i] >> 2 * q & 3) << 4;
                    quads[256 + 64 * q + i] |= (at[320 + i] >> 2 * q & 3) << 4;
                }
            for (int o = 0; o < PANEL; o++) {
                float scale = half_float(panel + 2 * o);
                scale0[o] = scale * (int8_t)panel[64 + 32 * g + o];
                scale1[o] = scale * (int8_t)panel[80 + 32 * g + o];
            }
            for (int r = 0; r < rows; r++) {
                const int8_t *values = (const int8_t *)block + r * GROUP;
                int32_t dots0[PANEL] = {0}, dots1[PANEL] = {0};
                add_dots(quads, values, 4, dots0);
                add_dots(quads + 256, values + 16, 4, dots1);
                for (int o = 0; o < PANEL; o++) {
                    float both = (float)(dots0[o] + lows_of(block, rows)[r]) * scale0[o];
                    both = fmaf((float)(dots1[o] + highs_of(block, rows)[r]), scale1[o], both);
                    float *sum = sums + r * PANEL + o;
                    *sum = fmaf(both, scales_of(block, rows)[r], *sum);
                }
            }
        }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q8(MULTIPLY, int rows) {
    float sums[MOST_ROWS * PANEL] = {0};
    const uint8_t *values = panel + Q8_SCALE_BYTES(groups);
    for (int g = 0; g < groups; g++, panel += 32, values += 512, block += rows * ROW_GROUP_BYTES)
        for (int r = 0; r < rows; r++) {
            int32_t dots[PANEL] = {0};
            add_dots(values, (const int8_t *)block + r * GROUP, 8, dots);
            for (int o = 0; o < PANEL; o++) {
                float scaled = (float)(dots[o] + wholes_of(block, rows)[r]) * scales_of(block, rows)[r];
                float *sum = sums + r * PANEL + o;
                *sum = fmaf(scaled, half_float(panel + 2 * o), *sum);
            }
        }
    finish(sums, rows, out, stride, width, add, bias);
}
