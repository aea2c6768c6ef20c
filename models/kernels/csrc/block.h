/* Where the parts of a group stand in a block of `rows` rows:
   int8 values [rows][32] · float scale [rows] · float sum [rows] (scale times the sum of the values)
   · int32 low, high [rows] (-32 times the sums of the values' halves) · int32 whole [rows] (-128 times their sum) */

#ifndef BLOCK_H
#define BLOCK_H

#include "hearth.h"

static inline const float *scales_of(const uint8_t *group, int rows) { return (const float *)(group + rows * GROUP); }
static inline const float *sums_of(const uint8_t *group, int rows) { return scales_of(group, rows) + rows; }
static inline const int32_t *lows_of(const uint8_t *group, int rows) { return (const int32_t *)sums_of(group, rows) + rows; }
static inline const int32_t *highs_of(const uint8_t *group, int rows) { return lows_of(group, rows) + rows; }
static inline const int32_t *wholes_of(const uint8_t *group, int rows) { return highs_of(group, rows) + rows; }

#endif
