/* Panels times blocks with AVX-512 VNNI: a register holds four inputs of 16 outputs, and one broadcast of four
   activations serves them all. */

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE __m512i quad(const uint8_t *values, int index) {
    int32_t four;
    memcpy(&four, values + 4 * index, 4);
    return _mm512_set1_epi32(four);
}

INLINE __m512 half_floats(const uint8_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)); }

INLINE __m512 unsigned_bytes(const uint8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at)));
}

INLINE __m512 signed_bytes(const uint8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)at)));
}

INLINE void finish(const __m512 *sums, int rows, float *out, int64_t stride, int width, int add, const float *bias) {
    __mmask16 lanes = (__mmask16)((1u << width) - 1);
    __m512 more = bias ? _mm512_maskz_loadu_ps(lanes, bias) : _mm512_setzero_ps();
    UNROLL for (int r = 0; r < rows; r++) {
        __m512 sum = _mm512_add_ps(sums[r], more);
        if (add) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, out + r * stride));
        _mm512_mask_storeu_ps(out + r * stride, lanes, sum);
    }
}

/* With several rows the arithmetic takes long enough for memory to be late: ask for what comes 2 kB later. A single row
   is quicker without. Prefetching beyond the end is harmless. */
INLINE void ahead(const uint8_t *at, int bytes, int rows) {
    if (rows > 1) UNROLL for (int i = 0; i < bytes; i += 64) _mm_prefetch((const char *)at + 2048 + i, _MM_HINT_T0);
}

INLINE void unpack_nibbles(const uint8_t *at, __m512i *quads) {
    const __m512i low = _mm512_set1_epi8(15);
    UNROLL for (int i = 0; i < 4; i++) {
        __m512i both = _mm512_loadu_si512(at + 64 * i);
        quads[i] = _mm512_and_si512(both, low);
        quads[4 + i] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
}

INLINE __m512 dot8(const __m512i *quads, const uint8_t *values) {
    __m512i first = _mm512_setzero_si512(), second = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < 4; i++) {
        first = _mm512_dpbusd_epi32(first, quads[i], quad(values, i));
        second = _mm512_dpbusd_epi32(second, quads[4 + i], quad(values, 4 + i));
    }
    return _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
}

INLINE void add_with_minimum(
    const __m512i *quads, __m512 scale, __m512 minimum, const uint8_t *group, int rows, __m512 *sums) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m512 scaled = _mm512_mul_ps(dot8(quads, group + r * GROUP), _mm512_set1_ps(scales_of(group, rows)[r]));
        sums[r] = _mm512_fmadd_ps(scaled, scale, sums[r]);
        sums[r] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(sums_of(group, rows)[r]), sums[r]);
    }
}

INLINE void q4(MULTIPLY, int rows) {
    __m512 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++, panel += 320, block += rows * ROW_GROUP_BYTES) {
        __m512i quads[8];
        ahead(panel, 320, rows);
        unpack_nibbles(panel + 64, quads);
        add_with_minimum(quads, half_floats(panel), half_floats(panel + 32), block, rows, sums);
    }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q4k(MULTIPLY, int rows) {
    __m512 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm512_setzero_ps();
    for (int s = 0; s < groups; s += 8, panel += 2368) {
        __m512 scale = half_floats(panel), minimum = half_floats(panel + 32);
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            __m512i quads[8];
            ahead(panel + 296 * g / 64 * 64, 320, rows);
            unpack_nibbles(panel + 320 + 256 * g, quads);
            add_with_minimum(
                quads, _mm512_mul_ps(scale, unsigned_bytes(panel + 64 + 32 * g)),
                _mm512_mul_ps(minimum, unsigned_bytes(panel + 80 + 32 * g)), block, rows, sums);
        }
    }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q6k(MULTIPLY, int rows) {
    const __m512i high = _mm512_set1_epi8(48);
    __m512 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm512_setzero_ps();
    for (int s = 0; s < groups; s += 8, panel += 3392) {
        __m512 scale = half_floats(panel);
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            const uint8_t *at = panel + 320 + 384 * g;
            __m512i first = _mm512_loadu_si512(at + 256), second = _mm512_loadu_si512(at + 320);
            __m512i quads[8];
            ahead(panel + 424 * g / 64 * 64, 448, rows);
            unpack_nibbles(at, quads);
            __m512i tops[8] = {
                _mm512_slli_epi16(first, 4),  _mm512_slli_epi16(first, 2),  first,  _mm512_srli_epi16(first, 2),
                _mm512_slli_epi16(second, 4), _mm512_slli_epi16(second, 2), second, _mm512_srli_epi16(second, 2)};
            /* quads | (tops & high) */
            UNROLL for (int i = 0; i < 8; i++) quads[i] = _mm512_ternarylogic_epi32(quads[i], tops[i], high, 0xf8);
            __m512 scale0 = _mm512_mul_ps(scale, signed_bytes(panel + 64 + 32 * g));
            __m512 scale1 = _mm512_mul_ps(scale, signed_bytes(panel + 80 + 32 * g));
            UNROLL for (int r = 0; r < rows; r++) {
                const uint8_t *values = block + r * GROUP;
                __m512i dot0 = _mm512_set1_epi32(lows_of(block, rows)[r]);
                __m512i dot1 = _mm512_set1_epi32(highs_of(block, rows)[r]);
                UNROLL for (int i = 0; i < 4; i++) {
                    dot0 = _mm512_dpbusd_epi32(dot0, quads[i], quad(values, i));
                    dot1 = _mm512_dpbusd_epi32(dot1, quads[4 + i], quad(values, 4 + i));
                }
                __m512 both = _mm512_mul_ps(_mm512_cvtepi32_ps(dot0), scale0);
                both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot1), scale1, both);
                sums[r] = _mm512_fmadd_ps(both, _mm512_set1_ps(scales_of(block, rows)[r]), sums[r]);
            }
        }
    }
    finish(sums, rows, out, stride, width, add, bias);
}

INLINE void q8(MULTIPLY, int rows) {
    __m512 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm512_setzero_ps();
    const uint8_t *values = panel + Q8_SCALE_BYTES(groups);
    for (int g = 0; g < groups; g++, panel += 32, values += 512, block += rows * ROW_GROUP_BYTES) {
        __m512i quads[8];
        ahead(values, 512, rows);
        UNROLL for (int i = 0; i < 8; i++) quads[i] = _mm512_loadu_si512(values + 64 * i);
        __m512 scale = half_floats(panel);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512i dot0 = _mm512_set1_epi32(wholes_of(block, rows)[r]), dot1 = _mm512_setzero_si512();
            UNROLL for (int i = 0; i < 4; i++) {
                dot0 = _mm512_dpbusd_epi32(dot0, quads[i], quad(block + r * GROUP, i));
                dot1 = _mm512_dpbusd_epi32(dot1, quads[4 + i], quad(block + r * GROUP, 4 + i));
            }
            __m512 scaled = _mm512_mul_ps(
                _mm512_cvtepi32_ps(_mm512_add_epi32(dot0, dot1)), _mm512_set1_ps(scales_of(block, rows)[r]));
            sums[r] = _mm512_fmadd_ps(scaled, scale, sums[r]);
        }
    }
    finish(sums, rows, out, stride, width, add, bias);
}
