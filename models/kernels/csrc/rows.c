/* Single rows of a matrix as floats: what an embedding looks up. formats.py describes the layouts. */

#include "half.h"
#include "hearth.h"
#include "matmul.h"

static void row_of(const matrix *weight, int64_t id, float *out) {
    const uint8_t *panel = weight->panels + id / PANEL * weight->panel_bytes;
    int o = (int)(id % PANEL), groups = groups_of(weight->inputs);
    for (int k = 0; k < weight->inputs; k++) {
        int g = k / GROUP, super = k / 256, in_super = g % 8, quad = k % GROUP / 4;
        int at = quad % 4 * 64 + o * 4 + k % 4, shift = quad < 4 ? 0 : 4; /* of a value of 4 bits */
        const uint8_t *here;
        switch (weight->kind) {
        case Q4:
            here = panel + g * 320;
            out[k] = half_float(here + 2 * o) * (float)(here[64 + at] >> shift & 15) + half_float(here + 32 + 2 * o);
            break;
        case Q4K:
            here = panel + super * 2368;
            out[k] = half_float(here + 2 * o) * here[64 + 32 * in_super + o] *
                         (float)(here[320 + 256 * in_super + at] >> shift & 15) +
                     half_float(here + 32 + 2 * o) * here[80 + 32 * in_super + o];
            break;
        case Q6K: {
            here = panel + super * 3392;
            const uint8_t *values = here + 320 + 384 * in_super;
            int high = values[256 + quad / 4 * 64 + o * 4 + k % 4] >> 2 * (quad % 4) & 3;
            out[k] = half_float(here + 2 * o) * (int8_t)here[64 + k % 256 / 16 * 16 + o] *
                     (float)(((values[at] >> shift & 15) | high << 4) - 32);
            break;
        }
        default:
            here = panel + (groups * 32 + 63) / 64 * 64 + g * 512;
            out[k] = half_float(panel + g * 32 + 2 * o) * (float)(here[quad * 64 + o * 4 + k % 4] - 128);
        }
    }
}

void hearth_rows(const matrix *weight, const int64_t *ids, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) row_of(weight, ids[i], out + i * weight->inputs);
}
