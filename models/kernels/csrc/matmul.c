#include "matmul.h"

/* Of rows that are kept in the second-level cache while panels pass by. */
#define CHUNK_BYTES (384 << 10)
/* Of panels that a thread takes at a time, at least: some three microseconds of a core's bandwidth. */
#define PIECE_BYTES (48 << 10)

/* How the panels of a matrix and the blocks of rows are cut into pieces for threads to take. */
typedef struct {
    int panels, at_once, blocks, pieces; /* blocks of a piece */
} cut;

static cut cut_work(const matrix *weight, const rows_plan *plan, int threads) {
    cut c = {.panels = (weight->outputs + PANEL - 1) / PANEL};
    int share = c.panels / (4 * threads);
    c.at_once = (int)(PIECE_BYTES / weight->panel_bytes);
    c.at_once = c.at_once < share ? c.at_once : share;
    c.at_once = c.at_once < 1 ? 1 : c.at_once;
    c.blocks = (int)(CHUNK_BYTES / ((int64_t)MOST_ROWS * plan->groups * ROW_GROUP_BYTES));
    c.blocks = c.blocks < 1 ? 1 : c.blocks;
    c.pieces = (c.panels + c.at_once - 1) / c.at_once * ((plan->blocks + c.blocks - 1) / c.blocks);
    return c;
}

static void multiply_piece(
    const cut *c, int piece, const level *level, const matrix *weight, const uint8_t *space, const rows_plan *plan,
    float *out, int64_t stride, int add) {
    int across = (c->panels + c->at_once - 1) / c->at_once;
    int first_block = piece / across * c->blocks, first = piece % across * c->at_once;
    int last_block = first_block + c->blocks < plan->blocks ? first_block + c->blocks : plan->blocks;
    int last = first + c->at_once < c->panels ? first + c->at_once : c->panels;
    for (int p = first; p < last; p++) {
        int width = weight->outputs - p * PANEL < PANEL ? weight->outputs - p * PANEL : PANEL;
        for (int b = first_block; b < last_block; b++)
            level->multiply[weight->kind][block_rows(plan, b) - 1](
                weight->panels + p * weight->panel_bytes, block_at(space, plan, b), plan->groups,
                out + first_row(plan, b) * stride + (int64_t)p * PANEL, stride, width, add,
                weight->bias ? weight->bias + p * PANEL : 0);
    }
}

void multiply_part(
    team *team, int part, int thread, const level *level, const matrix *weight, const uint8_t *space, const rows_plan *plan,
    float *out, int64_t stride, int add) {
    cut c = cut_work(weight, plan, team->threads);
    for (int piece; (piece = take(team, part, thread, c.pieces)) >= 0;)
        multiply_piece(&c, piece, level, weight, space, plan, out, stride, add);
}

void multiply_parts(
    team *team, int part, int thread, const level *level, const matrix *weights, int count, const uint8_t *space,
    const rows_plan *plan, float *out, int64_t stride) {
    cut cuts[MOST_MATRICES];
    int pieces = 0;
    for (int i = 0; i < count; i++) {
        cuts[i] = cut_work(&weights[i], plan, team->threads);
        pieces += cuts[i].pieces;
    }
    for (int piece; (piece = take(team, part, thread, pieces)) >= 0;) {
        int i = 0;
        float *to = out;
        for (; piece >= cuts[i].pieces; i++) {
            piece -= cuts[i].pieces;
            to += weights[i].outputs;
        }
        multiply_piece(&cuts[i], piece, level, &weights[i], space, plan, to, stride, 0);
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
    int spans = m->plan.rows >= team->threads ? 1 : team->threads, groups = m->plan.groups;
    for (int piece; (piece = take(team, 0, thread, (int)m->plan.rows * spans)) >= 0;) {
        int row = piece / spans, span = piece % spans, block = block_of(&m->plan, row);
        m->level->quantise(
            m->x + (int64_t)row * m->weight->inputs, 0, m->factors ? m->factors[row] : 1.0f, m->weight->inputs,
            groups * span / spans, groups * (span + 1) / spans, row - (int)first_row(&m->plan, block),
            block_rows(&m->plan, block), block_at(team->space, &m->plan, block));
    }
    meet(team);
    multiply_part(team, 1, thread, m->level, m->weight, team->space, &m->plan, m->out, m->stride, m->add);
}

int hearth_multiply(
    const matrix *weight, const float *x, int64_t rows, const float *factors, float *out, int64_t stride, int add,
    int threads) {
    if (rows == 0) return 0;
    multiplication m = {weight, x, factors, out, stride, add, plan_rows(rows, weight->inputs), current_level()};
    return run_job(multiply, &m, threads, 2, plan_bytes(&m.plan));
}
