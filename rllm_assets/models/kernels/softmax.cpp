/* Softmax of scores and of logits, on a CPU in bfloat16, in place. */

#include "bfloat16.h"

/* The next logits of a row; behind its end they are so low that their weight is 0. */
INLINE numbers take_logits(const uint16_t *x, int64_t left, float scale) {
    numbers value = take(x, left) * scale;
    for (int64_t i = left; i < STEP; i++) (i % 2 ? value.odd : value.even)[i / 2] = LOWEST;
    return value;
}

INLINE float largest_of(const uint16_t *x, int64_t length, float scale) {
    floats largest = all(LOWEST);
    for (int64_t t = 0; t < length; t += STEP) {
        numbers value = take_logits(x + t, length - t, scale);
        largest = larger(largest, larger(value.even, value.odd));
    }
    return maximum(largest);
}

/* Each row of scores becomes the softmax of scale times its first numbers, offset + n % queries + 1 of them, and zeros.
   `scratch` is a row, up to a whole STEP. */
KERNEL void causal_softmax(
    uint16_t *x, float *scratch, int64_t rows, int64_t keys, int64_t queries, int64_t offset, float scale
) {
    for (int64_t n = 0; n < rows; n++, x += keys) {
        int64_t seen = offset + n % queries + 1;
        float largest = largest_of(x, seen, scale);
        floats sums = {};
        for (int64_t t = 0; t < seen; t += STEP) {
            numbers weights = exponential(take_logits(x + t, seen - t, scale) - largest);
            memcpy(scratch + t, &weights, sizeof weights);
            sums += weights.even + weights.odd;
        }
        float inverse = 1.0f / total(sums);
        for (int64_t t = 0; t < seen; t += STEP) {
            numbers weights;
            memcpy(&weights, scratch + t, sizeof weights);
            put(x + t, weights * inverse, seen - t);
        }
        memset(x + seen, 0, (keys - seen) * sizeof *x);
    }
}

/* The gradient by weights becomes that by scores. */
KERNEL void causal_softmax_backward(const uint16_t *weights, uint16_t *grad, int64_t rows, int64_t keys, float scale) {
    for (int64_t n = 0; n < rows; n++, weights += keys, grad += keys) {
        numbers sums = {};
        for (int64_t t = 0; t < keys; t += STEP) sums = sums + take(weights + t, keys - t) * take(grad + t, keys - t);
        float along = total(sums.even + sums.odd);
        for (int64_t t = 0; t < keys; t += STEP)
            put(grad + t, take(weights + t, keys - t) * (take(grad + t, keys - t) - along) * scale, keys - t);
    }
}

/* A block of logits becomes exp(logit * scale - largest), where `largest` is that of all blocks so far. The sums over the blocks
   so far are kept up: `sum` of the weights and `moment` of weight times logit less `largest`; `shrink` is what sums of earlier
   blocks are to be multiplied with (online softmax, arXiv 1805.02867). */
KERNEL void online_softmax(
    uint16_t *x, float *largest, float *sum, float *moment, float *shrink, int64_t rows, int64_t block, float scale
) {
    for (int64_t n = 0; n < rows; n++, x += block) {
        float here = largest_of(x, block, scale), now = here > largest[n] ? here : largest[n];
        floats sums = {}, moments = {};
        for (int64_t t = 0; t < block; t += STEP) {
            numbers centred = take_logits(x + t, block - t, scale) - now, weights = exponential(centred);
            put(x + t, weights, block - t);
            sums += weights.even + weights.odd;
            moments += weights.even * centred.even + weights.odd * centred.odd;
        }
        float shift = largest[n] - now;
        shrink[n] = exponential(all(shift))[0];
        moment[n] = shrink[n] * (moment[n] + shift * sum[n]) + total(moments);
        sum[n] = shrink[n] * sum[n] + total(sums);
        largest[n] = now;
    }
}
