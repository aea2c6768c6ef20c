/* Panels times blocks with AVX2: a register holds four inputs of eight outputs, half of a quad.

   `maddubs` multiplies unsigned by signed bytes and adds neighbours into 16 bits, where it clips. Of 4-bit values eight
   such sums still fit, of 6-bit values two. Values of 8 bits are first made signed, and their sign moved to the
   activation: then a sum of two products just fits, but no sum of such sums. */

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE __m256i four(const uint8_t *values, int index) {
    int32_t bits;
    memcpy(&bits, values + 4 * index, 4);
    return _mm256_set1_epi32(bits);
}

INLINE __m256 half_floats(const uint8_t *at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at)); }

INLINE __m256 unsigned_bytes(const uint8_t *at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at)));
}

INLINE __m256 signed_bytes(const uint8_t *at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at)));
}

INLINE __m256i load(const uint8_t *at) { return _mm256_loadu_si256((const __m256i *)at); }

INLINE __m256i widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

/* Eight outputs' sums of `rows` rows, from output `half` * 8 on. */
INLINE void finish(
    const __m256 *sums, int rows, int half, float *out, int64_t stride, int width, int add, const float *bias) {
    for (int r = 0; r < rows; r++) {
        float values[8];
        _mm256_storeu_ps(values, sums[r]);
        for (int o = 8 * half, i = 0; i < 8 && o < width; i++, o++) {
            float sum = values[i] + (bias ? bias[o] : 0.0f);
            out[r * stride + o] = add ? sum + out[r * stride + o] : sum;
        }
    }
}

INLINE void unpack_nibbles(const uint8_t *at, int half, __m256i *quads) {
    const __m256i low = _mm256_set1_epi8(15);
    UNROLL for (int i = 0; i < 4; i++) {
        __m256i both = load(at + 64 * i + 32 * half);
        quads[i] = _mm256_and_si256(both, low);
        quads[4 + i] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
}

INLINE void add_with_minimum(
    const __m256i *quads, __m256 scale, __m256 minimum, const uint8_t *group, int rows, __m256 *sums) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i dots = _mm256_setzero_si256();
        UNROLL for (int i = 0; i < 8; i++)
            dots = _mm256_add_epi16(dots, _mm256_maddubs_epi16(quads[i], four(group + r * GROUP, i)));
        __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(widen(dots)), _mm256_set1_ps(scales_of(group, rows)[r]));
        sums[r] = _mm256_fmadd_ps(scaled, scale, sums[r]);
        sums[r] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(sums_of(group, rows)[r]), sums[r]);
    }
}

INLINE void q4_half(MULTIPLY, int rows, int half) {
    __m256 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_ps();
    for (int g = 0; g < groups; g++, panel += 320, block += rows * ROW_GROUP_BYTES) {
        __m256i quads[8];
        unpack_nibbles(panel + 64, half, quads);
        add_with_minimum(
            quads, half_floats(panel + 16 * half), half_floats(panel + 32 + 16 * half), block, rows, sums);
    }
    finish(sums, rows, half, out, stride, width, add, bias);
}

INLINE void q4k_half(MULTIPLY, int rows, int half) {
    __m256 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_ps();
    for (int s = 0; s < groups; s += 8, panel += 2368) {
        __m256 scale = half_floats(panel + 16 * half), minimum = half_floats(panel + 32 + 16 * half);
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            __m256i quads[8];
            unpack_nibbles(panel + 320 + 256 * g, half, quads);
            add_with_minimum(
                quads, _mm256_mul_ps(scale, unsigned_bytes(panel + 64 + 32 * g + 8 * half)),
                _mm256_mul_ps(minimum, unsigned_bytes(panel + 80 + 32 * g + 8 * half)), block, rows, sums);
        }
    }
    finish(sums, rows, half, out, stride, width, add, bias);
}

INLINE void q6k_half(MULTIPLY, int rows, int half) {
    const __m256i top = _mm256_set1_epi8(48);
    __m256 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_ps();
    for (int s = 0; s < groups; s += 8, panel += 3392) {
        __m256 scale = half_floats(panel + 16 * half);
        for (int g = 0; g < 8; g++, block += rows * ROW_GROUP_BYTES) {
            const uint8_t *at = panel + 320 + 384 * g;
            __m256i first = load(at + 256 + 32 * half), second = load(at + 320 + 32 * half);
            __m256i quads[8];
            unpack_nibbles(at, half, quads);
            __m256i tops[8] = {
                _mm256_slli_epi16(first, 4),  _mm256_slli_epi16(first, 2),  first,  _mm256_srli_epi16(first, 2),
                _mm256_slli_epi16(second, 4), _mm256_slli_epi16(second, 2), second, _mm256_srli_epi16(second, 2)};
            UNROLL for (int i = 0; i < 8; i++) quads[i] = _mm256_or_si256(quads[i], _mm256_and_si256(tops[i], top));
            __m256 scale0 = _mm256_mul_ps(scale, signed_bytes(panel + 64 + 32 * g + 8 * half));
            __m256 scale1 = _mm256_mul_ps(scale, signed_bytes(panel + 80 + 32 * g + 8 * half));
            UNROLL for (int r = 0; r < rows; r++) {
                const uint8_t *values = block + r * GROUP;
                __m256i dots[2] = {
                    _mm256_set1_epi32(lows_of(block, rows)[r]), _mm256_set1_epi32(highs_of(block, rows)[r])};
                UNROLL for (int i = 0; i < 8; i += 2)
                    dots[i / 4] = _mm256_add_epi32(
                        dots[i / 4], widen(_mm256_add_epi16(
                                         _mm256_maddubs_epi16(quads[i], four(values, i)),
                                         _mm256_maddubs_epi16(quads[i + 1], four(values, i + 1)))));
                __m256 both = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[0]), scale0);
                both = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[1]), scale1, both);
                sums[r] = _mm256_fmadd_ps(both, _mm256_set1_ps(scales_of(block, rows)[r]), sums[r]);
            }
        }
    }
    finish(sums, rows, half, out, stride, width, add, bias);
}

INLINE void q8_half(MULTIPLY, int rows, int half) {
    const __m256i middle = _mm256_set1_epi8(-128);
    __m256 sums[MOST_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_ps();
    const uint8_t *values = panel + Q8_SCALE_BYTES(groups) + 32 * half;
    for (int g = 0; g < groups; g++, panel += 32, values += 512, block += rows * ROW_GROUP_BYTES) {
        __m256i quads[8], sizes[8];
        UNROLL for (int i = 0; i < 8; i++) {
            quads[i] = _mm256_xor_si256(load(values + 64 * i), middle);
            sizes[i] = _mm256_abs_epi8(quads[i]);
        }
        __m256 scale = half_floats(panel + 16 * half);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i dots = _mm256_setzero_si256();
            UNROLL for (int i = 0; i < 8; i++)
                dots = _mm256_add_epi32(
                    dots, widen(_mm256_maddubs_epi16(
                              sizes[i], _mm256_sign_epi8(four(block + r * GROUP, i), quads[i]))));
            __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), _mm256_set1_ps(scales_of(block, rows)[r]));
            sums[r] = _mm256_fmadd_ps(scaled, scale, sums[r]);
        }
    }
    finish(sums, rows, half, out, stride, width, add, bias);
}

#define WHOLE(kind)                                                                                                    \
    INLINE void kind(MULTIPLY, int rows) {                                                                             \
        kind##_half(panel, block, groups, out, stride, width, add, bias, rows, 0);                                     \
        if (width > 8) kind##_half(panel, block, groups, out, stride, width, add, bias, rows, 1);                      \
    }

WHOLE(q4)
WHOLE(q4k)
WHOLE(q6k)
WHOLE(q8)
