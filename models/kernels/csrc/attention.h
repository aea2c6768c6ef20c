/* Attention of some rows over one head of keys and values, a block of 32 tokens at a time, with a running maximum
   (online softmax: Milakov and Gimelshein 2018, arXiv 1805.02867). Included by level.c.

   A block of keys is kept turned, [size][32], so that 32 scores come from plain sums; a block of values is [32][size].
   Both are float16 and are widened once for all queries. A query's result does not depend on the others. */

static inline uint16_t to_half(float x) {
    x = x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x;
#if defined(__F16C__)
    return (uint16_t)_cvtss_sh(x, 0);
#else
    return float_half(x);
#endif
}

/* Key and value [size] of one token to its place in their blocks. */
static void put(const float *key, const float *value, int size, int offset, uint16_t *keys, uint16_t *values) {
    for (int i = 0; i < size; i++) keys[i * BLOCK + offset] = to_half(key[i]);
    for (int i = 0; i < size; i++) values[offset * size + i] = to_half(value[i]);
}

/* scores[q][32] of `count` queries [size] with the keys [size][32]. */
INLINE void score(const float *queries, const float *keys, int size, int count, float *scores) {
    vec sums[4][BLOCK / WIDE];
    UNROLL for (int q = 0; q < count; q++)
        UNROLL for (int l = 0; l < BLOCK / WIDE; l++) sums[q][l] = v_all(0.0f);
    for (int i = 0; i < size; i++)
        UNROLL for (int q = 0; q < count; q++) {
            vec all = v_all(queries[q * size + i]);
            UNROLL for (int l = 0; l < BLOCK / WIDE; l++)
                sums[q][l] = v_fma(all, v_load(keys + i * BLOCK + l * WIDE), sums[q][l]);
        }
    UNROLL for (int q = 0; q < count; q++)
        UNROLL for (int l = 0; l < BLOCK / WIDE; l++) v_store(scores + q * BLOCK + l * WIDE, sums[q][l]);
}

/* sums [size] = sums * keep + the values [32][size] by their weights; at most 128 components at a time. */
INLINE void mix(const float *weights, const float *values, int size, int count, float keep, float *sums) {
    vec mixed[8];
    UNROLL for (int l = 0; l < count; l++) mixed[l] = v_mul(v_load(sums + l * WIDE), v_all(keep));
    for (int j = 0; j < BLOCK; j++) {
        vec all = v_all(weights[j]);
        UNROLL for (int l = 0; l < count; l++) mixed[l] = v_fma(all, v_load(values + j * size + l * WIDE), mixed[l]);
    }
    UNROLL for (int l = 0; l < count; l++) v_store(sums + l * WIDE, mixed[l]);
}

static void attend(const attention *a, float *space) {
    int size = a->size, queries = a->rows * a->group;
    float *keys = space, *values = keys + BLOCK * size, *sums = values + BLOCK * size;
    float *scaled = sums + queries * size, *most = scaled + queries * size, *total = most + queries;
    for (int r = 0; r < a->rows; r++)
        for (int h = 0; h < a->group; h++)
            for (int i = 0; i < size; i++) {
                scaled[(r * a->group + h) * size + i] = a->queries[r * a->stride + h * size + i] * a->scale;
                sums[(r * a->group + h) * size + i] = 0;
            }
    for (int q = 0; q < queries; q++) {
        most[q] = -INFINITY;
        total[q] = 0;
    }
    int last = a->positions[a->rows - 1];
    for (int b = 0; b <= last / BLOCK; b++) {
        const uint16_t *key_block = a->keys + a->table[b] * a->block_stride;
        const uint16_t *value_block = a->values + a->table[b] * a->block_stride;
        for (int i = 0; i < BLOCK * size; i += WIDE) v_store(keys + i, v_halves(key_block + i));
        for (int i = 0; i < BLOCK * size; i += WIDE) v_store(values + i, v_halves(value_block + i));
        /* Beyond the last token memory may hold anything, even what is no number. */
        int filled = last - b * BLOCK + 1;
        for (int j = filled < BLOCK ? filled : BLOCK; j < BLOCK; j++) memset(values + j * size, 0, sizeof(float) * size);
        float scores[4 * BLOCK];
        for (int q = 0; q < queries; q += 4) {
            int count = queries - q < 4 ? queries - q : 4;
            if (count == 4)
                score(scaled + q * size, keys, size, 4, scores);
            else
                for (int i = 0; i < count; i++) score(scaled + (q + i) * size, keys, size, 1, scores + i * BLOCK);
            for (int i = 0; i < count; i++) {
                float *weights = scores + i * BLOCK, largest = most[q + i];
                int seen = a->positions[(q + i) / a->group] - b * BLOCK + 1;
                if (seen <= 0) continue;
                for (int j = 0; j < BLOCK; j++) {
                    if (j >= seen) weights[j] = -INFINITY;
                    largest = weights[j] > largest ? weights[j] : largest;
                }
                for (int l = 0; l < BLOCK; l += WIDE)
                    v_store(weights + l, v_exp(v_sub(v_load(weights + l), v_all(largest))));
                for (int j = seen; j < BLOCK; j++) weights[j] = 0;
                float keep_in[WIDE], keep;
                v_store(keep_in, v_exp(v_all(most[q + i] - largest)));
                keep = most[q + i] == -INFINITY ? 0.0f : keep_in[0];
                most[q + i] = largest;
                float sum = total[q + i] * keep, *mixed = sums + (q + i) * size;
                for (int j = 0; j < BLOCK; j++) sum += weights[j];
                total[q + i] = sum;
                int c = 0;
                for (; c + 8 * WIDE <= size; c += 8 * WIDE) mix(weights, values + c, size, 8, keep, mixed + c);
                for (; c + 4 * WIDE <= size; c += 4 * WIDE) mix(weights, values + c, size, 4, keep, mixed + c);
                for (; c < size; c += WIDE) mix(weights, values + c, size, 1, keep, mixed + c);
            }
        }
    }
    for (int r = 0; r < a->rows; r++)
        for (int h = 0; h < a->group; h++) {
            int q = r * a->group + h;
            for (int i = 0; i < size; i++) a->out[r * a->out_stride + h * size + i] = sums[q * size + i] / total[q];
        }
}
