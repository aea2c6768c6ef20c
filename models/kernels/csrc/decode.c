/* A whole step of a decoder of Llama's kind as one job: the threads meet five times a layer for a single row.

   With one row every thread makes its own copy of what a matrix is multiplied with, which is quicker than to wait for
   another to make it. */

#include <string.h>

#include "hearth.h"
#include "matmul.h"
#include "pool.h"

#define PARTS_OF_LAYER 9
/* Rows of a sequence that share the widening of a block of keys and values. */
#define TILE 8

/* Rows [first, first + count) belong to one sequence. */
typedef struct {
    int first, count;
} tile;

typedef struct {
    const decoder *model;
    const decoder_step *step;
    const level *level;
    rows_plan hidden, seen, inner, wanted; /* what the matrices are multiplied with */
    int64_t qkv_width, seen_width;
    int tile_count, one_each; /* whether every sequence has one row */
    size_t copy, x_at, qkv_at, seen_at, inner_at, blocks_at, tiles_at, attention_at, attention_bytes;
} forward;

static size_t up_to_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Rows x [rows, width] as blocks, normed if there is a `norm`. Part `part`, unless there is but one row. */
static const uint8_t *prepare(
    forward *f, team *team, int thread, int part, const rows_plan *plan, const float *x, int width, const float *norm) {
    uint8_t *blocks = team->space + f->blocks_at;
    if (plan->rows == 1) {
        blocks += f->copy * (size_t)thread;
        float factor = norm ? f->level->norm_factor(x, width, f->model->eps) : 1.0f;
        f->level->quantise(x, norm, factor, width, 0, plan->groups, 0, 1, blocks);
        return blocks;
    }
    for (int row; (row = take(team, part, thread, (int)plan->rows)) >= 0;) {
        const float *from = x + (int64_t)row * width;
        int block = block_of(plan, row);
        float factor = norm ? f->level->norm_factor(from, width, f->model->eps) : 1.0f;
        f->level->quantise(
            from, norm, factor, width, 0, plan->groups, row - (int)first_row(plan, block), block_rows(plan, block),
            block_at(blocks, plan, block));
    }
    meet(team);
    return blocks;
}

/* Keys and values of head `h` of a row, turned, to their place. */
static void keep(forward *f, int layer, int row, int h, float *qkv) {
    const decoder *m = f->model;
    const decoder_step *s = f->step;
    float *key = qkv + (int64_t)row * f->qkv_width + (int64_t)(m->heads + h) * m->size;
    f->level->rotate(key, m->turns + (int64_t)s->positions[row] * m->size, 1, m->size);
    int64_t at = layer * s->layer_stride + h * s->head_stride + s->slots[row] / BLOCK * s->block_stride;
    f->level->put(
        key, key + (int64_t)m->kv_heads * m->size, m->size, (int)(s->slots[row] % BLOCK), s->keys + at, s->values + at);
}

static void attend_tile(forward *f, team *team, int thread, int layer, tile rows, int h) {
    const decoder *m = f->model;
    const decoder_step *s = f->step;
    int group = m->heads / m->kv_heads;
    float *queries = (float *)(team->space + f->qkv_at) + rows.first * f->qkv_width + (int64_t)h * group * m->size;
    for (int r = 0; r < rows.count; r++)
        f->level->rotate(
            queries + r * f->qkv_width, m->turns + (int64_t)s->positions[rows.first + r] * m->size, group, m->size);
    int64_t at = layer * s->layer_stride + h * s->head_stride;
    attention a = {
        .queries = queries,
        .keys = s->keys + at,
        .values = s->values + at,
        .positions = s->positions + rows.first,
        .table = s->tables + s->sequences[rows.first] * s->widest,
        .out = (float *)(team->space + f->seen_at) + rows.first * f->seen_width + (int64_t)h * group * m->size,
        .stride = f->qkv_width,
        .out_stride = f->seen_width,
        .block_stride = s->block_stride,
        .rows = rows.count,
        .group = group,
        .size = m->size,
        .scale = m->scale,
    };
    f->level->attend(&a, (float *)(team->space + f->attention_at + f->attention_bytes * (size_t)thread));
}

static void attention_part(forward *f, team *team, int thread, int part, int layer) {
    int heads = f->model->kv_heads;
    float *qkv = (float *)(team->space + f->qkv_at);
    const tile *tiles = (const tile *)(team->space + f->tiles_at);
    if (!f->one_each) {
        for (int piece; (piece = take(team, part, thread, (int)f->step->rows * heads)) >= 0;)
            keep(f, layer, piece / heads, piece % heads, qkv);
        meet(team);
    }
    /* The last tiles see most and come first. */
    for (int piece; (piece = take(team, part + 1, thread, f->tile_count * heads)) >= 0;) {
        tile rows = tiles[f->tile_count - 1 - piece / heads];
        if (f->one_each) keep(f, layer, rows.first, piece % heads, qkv);
        attend_tile(f, team, thread, layer, rows, piece % heads);
    }
    meet(team);
}

/* Two panels of up and two of gate at a time give one group of what `down` is multiplied with. */
static void gate_part(forward *f, team *team, int thread, int part, const decoder_layer *layer, const uint8_t *blocks) {
    const rows_plan *plan = &f->hidden;
    int groups = f->inner.groups, chunk = 1;
    if (plan->blocks > 4) chunk = 4;
    int chunks = (plan->blocks + chunk - 1) / chunk;
    for (int piece; (piece = take(team, part, thread, groups * chunks)) >= 0;) {
        int g = piece % groups, first = piece / groups * chunk;
        int last = first + chunk < plan->blocks ? first + chunk : plan->blocks;
        for (int b = first; b < last; b++) {
            float up[MOST_ROWS * GROUP], gate[MOST_ROWS * GROUP];
            int rows = block_rows(plan, b);
            const uint8_t *block = block_at(blocks, plan, b);
            for (int half = 0; half < 2; half++) {
                const matrix *both[2] = {&layer->up, &layer->gate};
                float *out[2] = {up, gate};
                for (int i = 0; i < 2; i++)
                    f->level->multiply[both[i]->kind][rows - 1](
                        both[i]->panels + (2 * g + half) * both[i]->panel_bytes, block, plan->groups,
                        out[i] + half * PANEL, GROUP, PANEL, 0,
                        both[i]->bias ? both[i]->bias + (2 * g + half) * PANEL : 0);
            }
            uint8_t *group =
                block_at(team->space + f->inner_at, &f->inner, b) + (size_t)g * rows * ROW_GROUP_BYTES;
            for (int r = 0; r < rows; r++) f->level->gate_group(up + r * GROUP, gate + r * GROUP, r, rows, group);
        }
    }
    meet(team);
}

static void run_layer(forward *f, team *team, int thread, int index) {
    const decoder *m = f->model;
    const decoder_layer *layer = &m->layers[index];
    int part = index * PARTS_OF_LAYER + 1;
    float *x = (float *)(team->space + f->x_at), *qkv = (float *)(team->space + f->qkv_at);
    const uint8_t *blocks = prepare(f, team, thread, part, &f->hidden, x, m->hidden, layer->attention_norm);
    multiply_parts(team, part + 1, thread, f->level, layer->qkv, (int)layer->qkv_parts, blocks, &f->hidden, qkv, f->qkv_width);
    meet(team);
    attention_part(f, team, thread, part + 2, index);
    const float *seen = (const float *)(team->space + f->seen_at);
    blocks = prepare(f, team, thread, part + 4, &f->seen, seen, (int)f->seen_width, 0);
    multiply_part(team, part + 5, thread, f->level, &layer->o, blocks, &f->seen, x, m->hidden, 1);
    meet(team);
    blocks = prepare(f, team, thread, part + 6, &f->hidden, x, m->hidden, layer->mlp_norm);
    gate_part(f, team, thread, part + 7, layer, blocks);
    multiply_part(team, part + 8, thread, f->level, &layer->down, team->space + f->inner_at, &f->inner, x, m->hidden, 1);
    meet(team);
}

static void run(void *context, team *team, int thread) {
    forward *f = context;
    const decoder *m = f->model;
    const decoder_step *s = f->step;
    float *x = (float *)(team->space + f->x_at);
    for (int row; (row = take(team, 0, thread, (int)s->rows)) >= 0;) {
        float *to = x + (int64_t)row * m->hidden;
        hearth_rows(&m->embedding, s->ids + row, 1, to);
        if (m->multiplier != 1.0f)
            for (int i = 0; i < m->hidden; i++) to[i] *= m->multiplier;
    }
    if (thread == 0) {
        tile *tiles = (tile *)(team->space + f->tiles_at);
        for (int row = 0, i = 0; row < s->rows; i++) {
            int end = row + 1;
            while (end < s->rows && end < row + TILE && s->sequences[end] == s->sequences[row]) end++;
            tiles[i] = (tile){row, end - row};
            row = end;
        }
    }
    meet(team);
    for (int index = 0; index < m->layer_count; index++) run_layer(f, team, thread, index);
    if (!s->wanted_count) return;
    int part = m->layer_count * PARTS_OF_LAYER + 1;
    if (s->wanted) {
        float *chosen = (float *)(team->space + f->qkv_at);
        for (int i; (i = take(team, part, thread, (int)s->wanted_count)) >= 0;)
            memcpy(chosen + (int64_t)i * m->hidden, x + s->wanted[i] * m->hidden, sizeof(float) * (size_t)m->hidden);
        meet(team);
        x = chosen;
    }
    const uint8_t *blocks = prepare(f, team, thread, part + 1, &f->wanted, x, m->hidden, m->norm);
    multiply_part(team, part + 2, thread, f->level, &m->head, blocks, &f->wanted, s->logits, m->head.outputs, 0);
}

int hearth_decode(const decoder *m, const decoder_step *s, int threads) {
    if (s->rows == 0) return 0;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    forward f = {
        .model = m,
        .step = s,
        .level = current_level(),
        .hidden = plan_rows(s->rows, m->hidden),
        .seen = plan_rows(s->rows, m->heads * m->size),
        .inner = plan_rows(s->rows, m->inner),
        .wanted = plan_rows(s->wanted_count, m->hidden),
        .qkv_width = (int64_t)(m->heads + 2 * m->kv_heads) * m->size,
        .seen_width = (int64_t)m->heads * m->size,
        .one_each = 1,
    };
    for (int64_t row = 0; row < s->rows; f.tile_count++) {
        int64_t end = row + 1;
        while (end < s->rows && end < row + TILE && s->sequences[end] == s->sequences[row]) end++;
        if (end > row + 1 || (end < s->rows && s->sequences[end] == s->sequences[row])) f.one_each = 0;
        row = end;
    }
    size_t rows = (size_t)s->rows, wide = f.hidden.groups > f.seen.groups ? f.hidden.groups : f.seen.groups;
    f.copy = up_to_64(wide * ROW_GROUP_BYTES);
    f.attention_bytes = up_to_64(sizeof(float) * attention_floats(TILE, m->heads / m->kv_heads, m->size));
    size_t blocks_bytes = rows > 1 ? rows * f.copy : 0, wanted_bytes = sizeof(float) * (size_t)(s->wanted_count * m->hidden);
    if (blocks_bytes < f.copy * (size_t)threads) blocks_bytes = f.copy * (size_t)threads;
    size_t qkv_bytes = sizeof(float) * rows * (size_t)f.qkv_width;
    if (qkv_bytes < wanted_bytes) qkv_bytes = wanted_bytes;
    f.qkv_at = f.x_at + up_to_64(sizeof(float) * rows * (size_t)m->hidden);
    f.seen_at = f.qkv_at + up_to_64(qkv_bytes);
    f.inner_at = f.seen_at + up_to_64(sizeof(float) * rows * (size_t)f.seen_width);
    f.blocks_at = f.inner_at + up_to_64(plan_bytes(&f.inner));
    f.tiles_at = f.blocks_at + up_to_64(blocks_bytes);
    f.attention_at = f.tiles_at + up_to_64(sizeof(tile) * (size_t)f.tile_count);
    size_t bytes = f.attention_at + f.attention_bytes * (size_t)threads;
    return run_job(run, &f, threads, (m->layer_count + 1) * PARTS_OF_LAYER + 4, bytes);
}
