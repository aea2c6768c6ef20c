/* The C interface of the kernels, and what its files share. No symbol here knows of Python or torch.

   A matrix of weights [outputs, inputs] is cut into panels of 16 outputs, and its inputs into groups of 32. A panel holds
   its groups one after the other, so that a core reads one stream; see formats.py for the layout of every kind.

   Activations are int8 with one scale for each group of a row. Rows are taken in blocks of at most 16, and a block is
   stored group by group (`block_group`), so that the kernels walk it with one pointer.

   Every level computes each element of a result by the same operations in the same order, whatever rows share its block.
   Hence a row's result depends neither on the processor's level nor on the rows beside it. */

#ifndef HEARTH_H
#define HEARTH_H

#include <stddef.h>
#include <stdint.h>

#define PANEL 16
#define GROUP 32
#define BLOCK 32 /* tokens of a block of keys and values */
#define MOST_ROWS 16
/* Of one row's group: 32 int8 values, their scale, the scaled sum, and the sums that the offsets of q6k and q8 need. */
#define ROW_GROUP_BYTES 52

enum kind { Q4, Q4K, Q6K, Q8, KINDS };

typedef struct {
    const uint8_t *panels; /* aligned to 64 bytes */
    const float *bias;     /* [outputs], or null */
    int64_t panel_bytes;
    int32_t kind, inputs, outputs, unused;
} matrix;

/* One panel times one block: out[r * stride + i] for i < width, plus what is there if `add`, plus bias. */
typedef void multiply_panel(
    const uint8_t *panel, const uint8_t *block, int groups, float *out, int64_t stride, int width, int add,
    const float *bias);

/* Attention of `rows` rows of one sequence, with the `group` query heads that share one head of keys and values. */
typedef struct {
    const float *queries; /* rows `stride` apart, heads of `size` side by side */
    const uint16_t *keys, *values; /* block 0 of this head; blocks are `block_stride` apart */
    const int32_t *positions, *table; /* of the rows, ascending; of the sequence's blocks */
    float *out; /* like the queries, rows `out_stride` apart */
    int64_t stride, out_stride, block_stride;
    int rows, group, size;
    float scale;
} attention;

typedef struct {
    const char *name;
    /* [kind][rows - 1] */
    multiply_panel *multiply[KINDS][MOST_ROWS];
    float (*norm_factor)(const float *x, int size, float eps);
    /* Row `row` of a block of `rows`, groups [first, last): x [inputs], times `weight` [inputs] if there is one, and
       times `factor`. */
    void (*quantise)(
        const float *x, const float *weight, float factor, int inputs, int first, int last, int row, int rows,
        uint8_t *block);
    /* up * silu(gate) of 32 values, to row `row` of a group of `rows` rows. */
    void (*gate_group)(const float *up, const float *gate, int row, int rows, uint8_t *group);
    void (*rotate)(float *x, const float *turn, int heads, int size);
    void (*put)(const float *key, const float *value, int size, int offset, uint16_t *keys, uint16_t *values);
    /* `space` holds `attention_floats`. */
    void (*attend)(const attention *a, float *space);
} level;

static inline size_t attention_floats(int rows, int group, int size) {
    return (size_t)2 * BLOCK * size + (size_t)rows * group * (2 * size + 2);
}

extern const level level_plain;
#if defined(__x86_64__)
extern const level level_avx2, level_avx512;
#endif

/* The level in use: the best that the processor has, unless `hearth_use` chose another. */
const level *current_level(void);

/* ---- What Python calls. ---- */

#define PUBLIC __attribute__((visibility("default")))
#define INTERFACE 2

/* INTERFACE, for the caller to compare with its own. */
PUBLIC int hearth_interface(void);

/* The name of the level in use. */
PUBLIC const char *hearth_level(void);

/* Use the level of this name; 0, or -1 where the processor or this build lacks it. */
PUBLIC int hearth_use(const char *name);

/* out[r * stride + o] = (add ? out : 0) + bias[o] + factors[r] * sum of x[r * inputs + i] * weight[o, i] over i.
   `factors` may be null. 0, or -1 without memory. */
PUBLIC int hearth_multiply(
    const matrix *weight, const float *x, int64_t rows, const float *factors, float *out, int64_t stride, int add,
    int threads);

/* out [count, inputs] = the weight's rows `ids`, each of which must be one of its outputs. */
PUBLIC void hearth_rows(const matrix *weight, const int64_t *ids, int64_t count, float *out);

/* One layer of Llama's kind: RMSNorm, grouped-query attention with rotary positions, RMSNorm, SwiGLU. */
typedef struct {
    const float *attention_norm, *mlp_norm; /* [hidden] */
    const matrix *qkv; /* `qkv_parts` matrices, whose outputs are all queries, keys and values in this order */
    int64_t qkv_parts;
    matrix o, up, gate, down;
} decoder_layer;

typedef struct {
    const decoder_layer *layers;
    matrix embedding, head;
    const float *norm, *turns; /* [hidden]; [context][size / 2][2] cosine and sine */
    int32_t layer_count, hidden, heads, kv_heads, size, inner;
    float eps, scale, multiplier; /* of norms; of scores; of embeddings */
    int32_t unused;
} decoder;

/* What one step reads, and where its keys and values lie. All of a sequence's rows are adjacent, in order. */
typedef struct {
    const int64_t *ids, *slots, *wanted; /* [rows], [rows], [wanted_count] or null for all rows */
    const int32_t *positions, *sequences, *tables; /* [rows], [rows], [sequences][widest] */
    uint16_t *keys, *values; /* of the first layer and head, block 0 */
    int64_t layer_stride, head_stride, block_stride; /* in float16 numbers */
    int64_t rows, wanted_count, widest;
    float *logits; /* [wanted_count][vocabulary] */
} decoder_step;

/* Run the step. 0, or -1 without memory. */
PUBLIC int hearth_decode(const decoder *model, const decoder_step *step, int threads);

/* End all worker threads; the next call starts new ones. */
PUBLIC void hearth_stop(void);

#endif
