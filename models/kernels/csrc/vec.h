/* A few floats that are worked on together: `WIDE` of them, in `vec`. Every operation rounds as the scalar one does, so
   that results do not depend on the width. */

#ifndef VEC_H
#define VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define WIDE 16
typedef __m512 vec;
#define v_load(at) _mm512_loadu_ps(at)
#define v_store(at, v) _mm512_storeu_ps(at, v)
#define v_all(x) _mm512_set1_ps(x)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_abs(a) _mm512_abs_ps(a)
#define v_halves(at) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at)))
/* v times 2 to the power that stands in the lowest bits of `shifted`. */
#define v_scale(v, shifted)                                                                                            \
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)))
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDE 8
typedef __m256 vec;
#define v_load(at) _mm256_loadu_ps(at)
#define v_store(at, v) _mm256_storeu_ps(at, v)
#define v_all(x) _mm256_set1_ps(x)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_abs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_halves(at) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at)))
#define v_scale(v, shifted)                                                                                            \
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)))
#else
#include "half.h"
#define WIDE 1
typedef float vec;
#define v_load(at) (*(at))
#define v_store(at, v) (*(at) = (v))
#define v_all(x) (x)
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_fma(a, b, c) fmaf(a, b, c)
#define v_max(a, b) ((a) > (b) ? (a) : (b))
#define v_min(a, b) ((a) < (b) ? (a) : (b))
#define v_abs(a) fabsf(a)
#define v_halves(at) half_float((const uint8_t *)(at))
static inline float v_scale(float v, float shifted) {
    uint32_t bits, power;
    memcpy(&bits, &v, 4);
    memcpy(&power, &shifted, 4);
    bits += power << 23;
    memcpy(&v, &bits, 4);
    return v;
}
#endif

/* Added and taken away again, it leaves the nearest whole number, even on a tie. */
#define ROUNDER 12582912.0f

/* exp, to a few units in the last place, for x from -87 to 88; beyond, what it is there. Cody and Waite's reduction and
   a polynomial of degree 6 (coefficients: Cephes' expf). */
static inline vec v_exp(vec x) {
    x = v_min(v_max(x, v_all(-87.0f)), v_all(88.0f));
    vec shifted = v_fma(x, v_all(1.44269504088896341f), v_all(ROUNDER));
    vec whole = v_sub(shifted, v_all(ROUNDER));
    vec rest = v_fma(whole, v_all(-0.693359375f), x);
    rest = v_fma(whole, v_all(2.12194440e-4f), rest);
    vec sum = v_all(1.9875691500e-4f);
    sum = v_fma(sum, rest, v_all(1.3981999507e-3f));
    sum = v_fma(sum, rest, v_all(8.3334519073e-3f));
    sum = v_fma(sum, rest, v_all(4.1665795894e-2f));
    sum = v_fma(sum, rest, v_all(1.6666665459e-1f));
    sum = v_fma(sum, rest, v_all(5.0000001201e-1f));
    sum = v_fma(v_mul(rest, rest), sum, rest);
    return v_scale(v_add(sum, v_all(1.0f)), shifted);
}

#endif
