/* Attention of a decoding step, on a CPU in bfloat16: cache, scores, softmax and values of a row while they are at hand.

   The cache is kept as the loops read it, two numbers to a word, of which a shift and a mask give two factors: keys with
   neighbouring entries of the head beside each other, for TILE positions at a time; values with neighbouring positions.

   Names: N tokens, H query heads, K key heads, R = H / K query heads to a key head, D head size, G groups, S slots of a group,
   P prompt positions, T response positions. Capacities are multiples of TILE, and D is one of 4 LANES.
*/

#include "bfloat16.h"

constexpr int TILE = STEP;

/* scores[r][t] = q[r] . k[t], where q and scores are R rows. */
INLINE void score_few(const float *q, const uint32_t *k, float *scores, int64_t row, int64_t size, int64_t length, int R) {
    for (int64_t t = 0; t < length; t += TILE) {
        floats sum[4][2] = {};
        for (int64_t d = 0; d < size; d += 2, k += TILE)
            for (int half = 0; half < 2; half++) {
                numbers keys = take((const uint16_t *)(k + half * LANES), STEP);
                for (int r = 0; r < R; r++) sum[r][half] += q[r * size + d] * keys.even;
                for (int r = 0; r < R; r++) sum[r][half] += q[r * size + d + 1] * keys.odd;
            }
        for (int r = 0; r < R; r++) memcpy(scores + r * row + t, sum[r], sizeof sum[r]);
    }
}

KERNEL void score(const float *q, const uint32_t *k, float *scores, int64_t row, int64_t size, int64_t length, int R) {
    for (; R >= 4; R -= 4, q += 4 * size, scores += 4 * row) score_few(q, k, scores, row, size, length, 4);
    if (R == 3) score_few(q, k, scores, row, size, length, 3);
    if (R == 2) score_few(q, k, scores, row, size, length, 2);
    if (R == 1) score_few(q, k, scores, row, size, length, 1);
}

/* out[r] += sum over t of weights[r][t] v[t]; v is a row of D words for two positions. */
INLINE void weigh_few(const float *weights, const uint32_t *v, float *out, int64_t row, int64_t size, int64_t length, int R) {
    for (int64_t j = 0; j < size; j += 4 * LANES) {
        floats sum[4][4];
        for (int r = 0; r < R; r++)
            for (int i = 0; i < 4; i++) memcpy(&sum[r][i], out + r * size + j + i * LANES, sizeof(floats));
        for (int64_t t = 0; t < length; t += 2)
            for (int i = 0; i < 4; i++) {
                numbers values = take((const uint16_t *)(v + t / 2 * size + j + i * LANES), STEP);
                for (int r = 0; r < R; r++) sum[r][i] += weights[r * row + t] * values.even;
                for (int r = 0; r < R; r++) sum[r][i] += weights[r * row + t + 1] * values.odd;
            }
        for (int r = 0; r < R; r++)
            for (int i = 0; i < 4; i++) memcpy(out + r * size + j + i * LANES, &sum[r][i], sizeof(floats));
    }
}

KERNEL void weigh(const float *weights, const uint32_t *v, float *out, int64_t row, int64_t size, int64_t length, int R) {
    for (; R >= 4; R -= 4, weights += 4 * row, out += 4 * size) weigh_few(weights, v, out, row, size, length, 4);
    if (R == 3) weigh_few(weights, v, out, row, size, length, 3);
    if (R == 2) weigh_few(weights, v, out, row, size, length, 2);
    if (R == 1) weigh_few(weights, v, out, row, size, length, 1);
}

INLINE floats take_floats(const float *x) {
    floats value;
    memcpy(&value, x, sizeof value);
    return value;
}

INLINE floats to_weights(float *scores, float shift) {
    floats weights = exponential(take_floats(scores) - shift);
    memcpy(scores, &weights, sizeof weights);
    return weights;
}

/* Turn R rows of scores into weights, of which one behind the last is 0, since values are taken in pairs; `inverse` takes what
   the values' sums are to be multiplied with. */
KERNEL void to_weights(float *scores, float *own_scores, float *inverse, int64_t row, int64_t prompt, int64_t own, int R) {
    for (int r = 0; r < R; r++, scores += row, own_scores += row) {
        floats largest = all(scores[0]), sums = {};
        for (int64_t t = prompt; t % LANES; t++) scores[t] = LOWEST;
        for (int64_t t = own; t % LANES; t++) own_scores[t] = LOWEST;
        for (int64_t t = 0; t < prompt; t += LANES) largest = larger(largest, take_floats(scores + t));
        for (int64_t t = 0; t < own; t += LANES) largest = larger(largest, take_floats(own_scores + t));
        float shift = maximum(largest);
        for (int64_t t = 0; t < prompt; t += LANES) sums += to_weights(scores + t, shift);
        for (int64_t t = 0; t < own; t += LANES) sums += to_weights(own_scores + t, shift);
        inverse[r] = 1.0f / total(sums);
    }
}

KERNEL void widen(const uint16_t *x, float *out, int64_t count, float scale) {
    for (int64_t d = 0; d < count; d++) {
        uint32_t bits = (uint32_t)x[d] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        out[d] = value * scale;
    }
}

KERNEL void narrow(const float *x, uint16_t *out, int64_t count, float scale) {
    for (int64_t d = 0; d < count; d++) {
        float value = x[d] * scale;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        out[d] = (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }
}

/* One new position: write its keys and values into the cache, and attend to the prompt and to all own positions.

   q, k, v    N rows of H, K and K heads; a stride is from row to row
   prompt_k   G x K x prompt_capacity / TILE x D / 2 x TILE words,   prompt_v  G x K x prompt_capacity / 2 x D words
   own_k      G x K x S x own_capacity / TILE x D / 2 x TILE words,  own_v     G x K x S x own_capacity / 2 x D words
   lengths    of the prompts, G;  group, slot  of each row, N;  step  the new position
   scratch    R x (prompt_capacity + own_capacity + 2 D + 1) numbers
   out        N x H x D
*/
extern "C" void attend(
    const uint16_t *q, const uint16_t *k, const uint16_t *v, const uint32_t *prompt_k, const uint32_t *prompt_v,
    uint32_t *own_k, uint32_t *own_v, const int64_t *lengths, const int64_t *group, const int64_t *slot, float *scratch,
    uint16_t *out, int64_t q_stride, int64_t k_stride, int64_t v_stride, int64_t rows, int64_t heads, int64_t key_heads,
    int64_t size, int64_t slots, int64_t prompt_capacity, int64_t own_capacity, int64_t step, float scale
) {
    int R = (int)(heads / key_heads);
    int64_t row = prompt_capacity + own_capacity, own = step + 1;
    float *scores = scratch, *own_scores = scores + prompt_capacity, *queries = scores + R * row, *result = queries + R * size;
    float *inverse = result + R * size;
    for (int64_t head = 0; head < key_heads; head++)
        for (int64_t n = 0; n < rows; n++) {
            int64_t pair = group[n] * key_heads + head, prompt = lengths[group[n]];
            const uint32_t *keys = prompt_k + pair * prompt_capacity * size / 2;
            const uint32_t *values = prompt_v + pair * prompt_capacity * size / 2;
            uint32_t *own_keys = own_k + (pair * slots + slot[n]) * own_capacity * size / 2;
            uint32_t *own_values = own_v + (pair * slots + slot[n]) * own_capacity * size / 2;
            const uint16_t *new_k = k + n * k_stride + head * size, *new_v = v + n * v_stride + head * size;
            uint16_t *key = (uint16_t *)(own_keys + step / TILE * TILE * size / 2 + step % TILE);
            uint16_t *value = (uint16_t *)(own_values + step / 2 * size) + step % 2;
            for (int64_t d = 0; d < size; d += 2) memcpy(key + d * TILE, new_k + d, 4);
            for (int64_t d = 0; d < size; d++) value[2 * d] = new_v[d];
            widen(q + n * q_stride + head * R * size, queries, R * size, scale);
            score(queries, keys, scores, row, size, prompt, R);
            score(queries, own_keys, own_scores, row, size, own, R);
            to_weights(scores, own_scores, inverse, row, prompt, own, R);
            memset(result, 0, sizeof(float) * R * size);
            weigh(scores, values, result, row, size, prompt, R);
            weigh(own_scores, own_values, result, row, size, own, R);
            for (int r = 0; r < R; r++) narrow(result + r * size, out + (n * heads + head * R + r) * size, size, inverse[r]);
        }
}
