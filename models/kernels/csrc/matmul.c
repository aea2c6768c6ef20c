#include "matmul.h"

/* Of rows that are kept in the second-level cache while panels pass by. */
#define CHUNK_BYTES (384 << 10)
/* Of panels that a thread takes at a time, at least: some three microseconds of a core's bandwidth. */
#define PIECE_BYTES (48 << 10)

void multiply_part(
    team *team, int part, const level *level, const matrix *weight, const uint8_t *space, const rows_plan *plan,
    float *out, int64_t stride, int add) {
    int panels = (weight->outputs + PANEL - 1) / PANEL;
    int at_once = (int)(PIECE_BYTES / weight->panel_bytes), share = panels / (4 * team->threads);
    at_once = at_once < share ? at_once : share;
    at_once = at_once < 1 ? 1 : at_once;
    int64_t block_bytes = (int64_t)MOST_ROWS * plan->groups * ROW_GROUP_BYTES;
    int chunk = (int)(CHUNK_BYTES / block_bytes);
    chunk = chunk < 1 ? 1 : chunk;
    int chunks = (plan->blocks + chunk - 1) / chunk, pieces = (panels + at_once - 1) / at_once;
    for (int piece; (piece = take(team, part, chunks * pieces)) >= 0;) {
        int first_block = piece / pieces * chunk, first = piece % pieces * at_once;
        int last_block = first_block + chunk < plan->blocks ? first_block + chunk : plan->blocks;
        int last = first + at_once < panels ? first + at_once : panels;
        for (int p = first; p < last; p++) {
            int width = weight->outputs - p * PANEL < PANEL ? weight->outputs - p * PANEL : PANEL;
            for (int b = first_block; b < last_block; b++)
                level->multiply[weight->kind][block_rows(plan, b) - 1](
                    weight->panels + p * weight->panel_bytes, block_at_const(space, plan, b), plan->groups,
                    out + first_row(plan, b) * stride + (int64_t)p * PANEL, stride, width, add,
                    weight->bias ? weight->bias + p * PANEL : 0);
        }
    }
}

typedef struct {
    const matrix *weight;
    const float *x, *factors;
    float *out;
    int64_t stride;
    int add;
    rows_plan plan;
    const level *level;
} multiplication;

static void multiply(void *context, team *team, int thread) {
    multiplication *m = context;
    (void)thread;
    int spans = m->plan.rows >= team->threads ? 1 : team->threads, groups = m->plan.groups;
    for (int piece; (piece = take(team, 0, (int)m->plan.rows * spans)) >= 0;) {
        int row = piece / spans, span = piece % spans, block = (int)((int64_t)row * m->plan.blocks / m->plan.rows);
        while (first_row(&m->plan, block + 1) <= row) block++;
        while (first_row(&m->plan, block) > row) block--;
        m->level->quantise(
            m->x + (int64_t)row * m->weight->inputs, m->factors ? m->factors[row] : 1.0f, m->weight->inputs,
            groups * span / spans, groups * (span + 1) / spans, row - (int)first_row(&m->plan, block),
            block_rows(&m->plan, block), block_at(team->space, &m->plan, block));
    }
    meet(team);
    multiply_part(team, 1, m->level, m->weight, team->space, &m->plan, m->out, m->stride, m->add);
}

int hearth_multiply(
    const matrix *weight, const float *x, int64_t rows, const float *factors, float *out, int64_t stride, int add,
    int threads) {
    if (rows == 0) return 0;
    multiplication m = {weight, x, factors, out, stride, add, plan_rows(rows, weight->inputs), current_level()};
    return run_job(multiply, &m, threads, plan_bytes(&m.plan));
}
