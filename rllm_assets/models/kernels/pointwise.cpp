/* Norm, gate and rotation between matrix products, on a CPU in bfloat16: each reads its input from memory once. */

#include "bfloat16.h"

/* out = x / sqrt(mean(x^2) + epsilon) * weight; `inverse` takes what each row was multiplied with. */
KERNEL void rms_norm(
    const uint16_t *x, const uint16_t *weight, uint16_t *out, float *inverse, int64_t rows, int64_t width, float epsilon
) {
    for (int64_t n = 0; n < rows; n++, x += width, out += width) {
        numbers squares = {};
        for (int64_t j = 0; j < width; j += STEP) {
            numbers part = take(x + j, width - j);
            squares = squares + part * part;
        }
        inverse[n] = 1.0f / __builtin_sqrtf(total(squares.even + squares.odd) / (float)width + epsilon);
        for (int64_t j = 0; j < width; j += STEP)
            put(out + j, take(x + j, width - j) * inverse[n] * take(weight + j, width - j), width - j);
    }
}

/* The gradient by x. */
KERNEL void rms_norm_backward(
    const uint16_t *x, const uint16_t *weight, const float *inverse, const uint16_t *grad, uint16_t *out, int64_t rows,
    int64_t width
) {
    for (int64_t n = 0; n < rows; n++, x += width, grad += width, out += width) {
        numbers sums = {};
        for (int64_t j = 0; j < width; j += STEP)
            sums = sums + take(x + j, width - j) * take(grad + j, width - j) * take(weight + j, width - j);
        float along = total(sums.even + sums.odd) * inverse[n] * inverse[n] / (float)width;
        for (int64_t j = 0; j < width; j += STEP) {
            numbers by_normed = take(grad + j, width - j) * take(weight + j, width - j);
            put(out + j, (by_normed - take(x + j, width - j) * along) * inverse[n], width - j);
        }
    }
}

INLINE floats sigmoid(floats x) { return 1.0f / (1.0f + exponential(-larger(x, all(-80.0f)))); }

INLINE numbers sigmoid(numbers x) { return {sigmoid(x.even), sigmoid(x.odd)}; }

/* out = silu(gate) * up; a stride is from row to row. */
KERNEL void silu_gated(
    const uint16_t *gate, const uint16_t *up, uint16_t *out, int64_t rows, int64_t width, int64_t gate_stride,
    int64_t up_stride
) {
    for (int64_t n = 0; n < rows; n++, gate += gate_stride, up += up_stride, out += width)
        for (int64_t j = 0; j < width; j += STEP) {
            numbers x = take(gate + j, width - j);
            put(out + j, x * sigmoid(x) * take(up + j, width - j), width - j);
        }
}

/* The gradients by gate and up, of `count` numbers. */
KERNEL void silu_gated_backward(
    const uint16_t *gate, const uint16_t *up, const uint16_t *grad, uint16_t *grad_gate, uint16_t *grad_up, int64_t count
) {
    for (int64_t j = 0; j < count; j += STEP) {
        numbers x = take(gate + j, count - j), share = sigmoid(x), by_out = take(grad + j, count - j), silu = x * share;
        put(grad_up + j, by_out * silu, count - j);
        put(grad_gate + j, by_out * take(up + j, count - j) * (share + silu - silu * share), count - j);
    }
}

/* Rotary embedding of all heads: pairs half a head apart are turned by their angle, or turned back, as their gradient is. */
KERNEL void rotate(
    const uint16_t *x, const uint16_t *cos, const uint16_t *sin, uint16_t *out, int64_t rows, int64_t heads, int64_t size,
    int64_t stride, int64_t back
) {
    int64_t half = size / 2;
    float sign = back ? -1.0f : 1.0f;
    for (int64_t n = 0; n < rows; n++, x += stride, cos += size, sin += size) {
        const uint16_t *sin_a = back ? sin + half : sin, *sin_b = back ? sin : sin + half;
        for (int64_t h = 0; h < heads; h++, out += size)
            for (int64_t j = 0; j < half; j += STEP) {
                int64_t left = half - j;
                numbers a = take(x + h * size + j, left), b = take(x + h * size + half + j, left);
                put(out + j, a * take(cos + j, left) - b * take(sin_a + j, left) * sign, left);
                put(out + half + j, b * take(cos + half + j, left) + a * take(sin_b + j, left) * sign, left);
            }
    }
}
