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

typedef struct {
    const char *name;
    /* [kind][rows - 1] */
    multiply_panel *multiply[KINDS][MOST_ROWS];
    /* Row `row` of a block of `rows`, groups [first, last): x [inputs], each value times `factor`. */
    void (*quantise)(const float *x, float factor, int inputs, int first, int last, int row, int rows, uint8_t *block);
} level;

extern const level level_plain;
#if defined(__x86_64__)
extern const level level_avx2, level_avx512;
#endif

/* The level in use: the best that the processor has, unless `hearth_use` chose another. */
const level *current_level(void);

/* ---- What Python calls. ---- */

#define PUBLIC __attribute__((visibility("default")))
#define INTERFACE 1

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

/* End all worker threads; the next call starts new ones. */
PUBLIC void hearth_stop(void);

#endif
