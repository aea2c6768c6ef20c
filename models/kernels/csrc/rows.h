/* What is done to rows of activations between the matrices. Included by level.c. */

/* The factor of an RMSNorm: 1 / sqrt(mean of squares + eps). Sixteen sums, then a tree, on every level. */
static float norm_factor(const float *x, int size, float eps) {
    float sums[16] = {0};
    int i = 0;
    for (; i + 16 <= size; i += 16)
        for (int l = 0; l < 16; l += WIDE) {
            vec value = v_load(x + i + l);
            v_store(sums + l, v_fma(value, value, v_load(sums + l)));
        }
    for (; i < size; i++) sums[i % 16] = fmaf(x[i], x[i], sums[i % 16]);
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
    return 1.0f / sqrtf(sums[0] / (float)size + eps);
}

/* One group: `in` [32], to row `row` of a group of `rows` rows; the scale is multiplied by `factor`. */
static inline void quantise_group(const float *in, float factor, int row, int rows, uint8_t *group) {
    vec most = v_all(0.0f);
    for (int i = 0; i < GROUP; i += WIDE) most = v_max(v_abs(v_load(in + i)), most);
    float lanes[WIDE], largest = 0;
    v_store(lanes, most);
    for (int i = 0; i < WIDE; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    float inverse = largest > 0 ? 127.0f / largest : 0.0f, scale = largest * (1.0f / 127.0f) * factor;
    int32_t whole[GROUP], low = 0, high = 0;
    for (int i = 0; i < GROUP; i += WIDE) {
        float shifted[WIDE];
        v_store(shifted, v_add(v_mul(v_load(in + i), v_all(inverse)), v_all(ROUNDER)));
        memcpy(whole + i, shifted, sizeof shifted);
    }
    int8_t *values = (int8_t *)group + row * GROUP;
    for (int i = 0; i < GROUP; i++) whole[i] -= 0x4b400000;
    for (int i = 0; i < GROUP; i++) values[i] = (int8_t)whole[i];
    for (int i = 0; i < 16; i++) low += whole[i];
    for (int i = 16; i < 32; i++) high += whole[i];
    ((float *)scales_of(group, rows))[row] = scale;
    ((float *)sums_of(group, rows))[row] = scale * (float)(low + high);
    ((int32_t *)lows_of(group, rows))[row] = -32 * low;
    ((int32_t *)highs_of(group, rows))[row] = -32 * high;
    ((int32_t *)wholes_of(group, rows))[row] = -128 * (low + high);
}

static void quantise(
    const float *x, const float *weight, float factor, int inputs, int first, int last, int row, int rows,
    uint8_t *block) {
    for (int g = first; g < last; g++) {
        float in[GROUP];
        int count = inputs - g * GROUP < GROUP ? inputs - g * GROUP : GROUP;
        const float *from = x + g * GROUP, *by = weight + g * GROUP;
        if (count < GROUP) memset(in, 0, sizeof in);
        if (weight)
            for (int i = 0; i < count; i++) in[i] = from[i] * by[i];
        else
            memcpy(in, from, sizeof(float) * (size_t)count);
        quantise_group(in, factor, row, rows, block + (size_t)g * rows * ROW_GROUP_BYTES);
    }
}

/* up * silu(gate) of one group of 32, to row `row` of `group`. */
static void gate_group(const float *up, const float *gate, int row, int rows, uint8_t *group) {
    float in[GROUP];
    for (int i = 0; i < GROUP; i += WIDE) {
        vec value = v_load(gate + i), minus = v_sub(v_all(0.0f), value);
        vec silu = v_div(value, v_add(v_all(1.0f), v_exp(minus)));
        v_store(in + i, v_mul(silu, v_load(up + i)));
    }
    quantise_group(in, 1.0f, row, rows, group);
}

/* Turn `heads` heads of `size` components in place; `turn` holds size / 2 pairs of cosine and sine. */
static void rotate(float *x, const float *turn, int heads, int size) {
    for (int h = 0; h < heads; h++, x += size)
        for (int i = 0; i < size; i += 2) {
            float a = x[i], b = x[i + 1], c = turn[i], s = turn[i + 1];
            x[i] = a * c - b * s;
            x[i + 1] = a * s + b * c;
        }
}
