/* Numbers in bfloat16, which are the upper halves of those in fp32, in vectors: what all kernels are made of.

   Arithmetic is in fp32, and sums are taken in a fixed order: vector by vector, then over the lanes. A row's numbers therefore
   do not depend on the rows beside it, nor on how wide the processor's own vectors are.
*/

#ifndef BFLOAT16_H
#define BFLOAT16_H

#include <cstdint>
#include <cstring>

/* One copy of a function for each generation of processors; the loader takes the best. */
#if defined(__x86_64__) && defined(__gnu_linux__)
#define KERNEL extern "C" __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KERNEL extern "C"
#endif
#define INLINE static inline __attribute__((always_inline))

constexpr int LANES = 16, STEP = 2 * LANES;
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));

/* STEP numbers that lie beside each other: a word holds an even and an odd one, which a shift and a mask take apart. */
struct numbers {
    floats even, odd;
};

INLINE numbers operator+(numbers x, numbers y) { return {x.even + y.even, x.odd + y.odd}; }
INLINE numbers operator-(numbers x, numbers y) { return {x.even - y.even, x.odd - y.odd}; }
INLINE numbers operator*(numbers x, numbers y) { return {x.even * y.even, x.odd * y.odd}; }
INLINE numbers operator-(numbers x, float y) { return {x.even - y, x.odd - y}; }
INLINE numbers operator*(numbers x, float y) { return {x.even * y, x.odd * y}; }

/* The next numbers of a row with `left` of them; behind its end are zeros. */
INLINE numbers take(const uint16_t *x, int64_t left) {
    words pairs;
    if (left >= STEP) {
        memcpy(&pairs, x, sizeof pairs);
    } else {
        pairs = words{};
        memcpy(&pairs, x, 2 * left);
    }
    return {(floats)(pairs << 16), (floats)(pairs & 0xFFFF0000u)};
}

/* To nearest, ties to even. */
INLINE words rounded(floats x) { return (words)x + 0x7FFF + (((words)x >> 16) & 1); }

INLINE void put(uint16_t *out, numbers x, int64_t left) {
    words pairs = (rounded(x.even) >> 16) | (rounded(x.odd) & 0xFFFF0000u);
    if (left >= STEP)
        memcpy(out, &pairs, sizeof pairs);
    else
        memcpy(out, &pairs, 2 * left);
}

INLINE floats all(float x) { return floats{} + x; }

INLINE floats larger(floats x, floats y) { return x > y ? x : y; }

INLINE float total(floats x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

INLINE float maximum(floats x) {
    float largest = x[0];
    for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

constexpr float LOWEST = -3.0e38f;

/* exp to 2 units in the last place (the polynomial of Cephes' expf), of at most 80; next to nothing becomes 0. */
INLINE floats exponential(floats x) {
    /* Adding this rounds to a whole number, which then is the sum's lowest bits. */
    constexpr float ROUND = 12582912.0f;
    floats shifted = x * 1.44269504f + ROUND, whole = shifted - ROUND;
    floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    floats p = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    floats power = (floats)(((integers)shifted - 0x4B400000 + 127) << 23);
    return x < -80.0f ? floats{} : p * power;
}

INLINE numbers exponential(numbers x) { return {exponential(x.even), exponential(x.odd)}; }

#endif
