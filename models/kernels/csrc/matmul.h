/* Multiplying a matrix with rows that are already quantised, as a part of a job. */

#ifndef MATMUL_H
#define MATMUL_H

#include "hearth.h"
#include "pool.h"

static inline int groups_of(int inputs) { return (inputs + GROUP - 1) / GROUP; }

/* Rows are cut into blocks of nearly equal height, at most MOST_ROWS. */
typedef struct {
    int64_t rows;
    int blocks, groups;
} rows_plan;

static inline rows_plan plan_rows(int64_t rows, int inputs) {
    return (rows_plan){rows, (int)((rows + MOST_ROWS - 1) / MOST_ROWS), groups_of(inputs)};
}

static inline int64_t first_row(const rows_plan *plan, int block) { return plan->rows * block / plan->blocks; }

static inline int block_rows(const rows_plan *plan, int block) {
    return (int)(first_row(plan, block + 1) - first_row(plan, block));
}

static inline int block_of(const rows_plan *plan, int64_t row) {
    int block = (int)(row * plan->blocks / plan->rows);
    while (first_row(plan, block + 1) <= row) block++;
    while (first_row(plan, block) > row) block--;
    return block;
}

static inline size_t plan_bytes(const rows_plan *plan) {
    return (size_t)plan->rows * plan->groups * ROW_GROUP_BYTES;
}

static inline uint8_t *block_at(const uint8_t *space, const rows_plan *plan, int block) {
    return (uint8_t *)space + (size_t)first_row(plan, block) * plan->groups * ROW_GROUP_BYTES;
}

/* The team's part `part`: out [rows, stride] from `space`, which holds the rows' blocks. */
void multiply_part(
    team *team, int part, int thread, const level *level, const matrix *weight, const uint8_t *space, const rows_plan *plan,
    float *out, int64_t stride, int add);

#define MOST_MATRICES 4

/* The same for up to MOST_MATRICES matrices whose outputs stand side by side in `out`. */
void multiply_parts(
    team *team, int part, int thread, const level *level, const matrix *weights, int count, const uint8_t *space,
    const rows_plan *plan, float *out, int64_t stride);

#endif
