#include "models/cache.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace irt {
namespace {

constexpr std::size_t kAlignment = 64;

[[nodiscard]] std::size_t size(int value) noexcept { return static_cast<std::size_t>(value); }

}  // namespace

void KvCache::Free::operator()(float* memory) const noexcept { std::free(memory); }

KvCache::KvCache(const CacheShape& shape)
    : shape_(shape), row_floats_(size(shape.kv_heads) * size(shape.length) * size(shape.head_dim)) {
  std::size_t bytes = row_floats_ * size(shape.slots) * sizeof(float);
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  arenas_.reserve(2 * size(shape.layers));
  for (int i = 0; i < 2 * shape.layers; ++i) {
    arenas_.emplace_back(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    if (arenas_.back() == nullptr) throw std::bad_alloc();
    std::memset(arenas_.back().get(), 0, bytes);
  }
}

Value KvCache::view(Arena& arena, int first, int rows) {
  const std::array<std::int64_t, 4> shape{rows, shape_.kv_heads, shape_.length, shape_.head_dim};
  return Value::wrap({arena.get() + size(first) * row_floats_, size(rows) * row_floats_}, shape);
}

Value KvCache::keys(int layer, int first, int rows) {
  return view(arenas_[2 * size(layer)], first, rows);
}

Value KvCache::values(int layer, int first, int rows) {
  return view(arenas_[2 * size(layer) + 1], first, rows);
}

float* KvCache::head(const Arena& arena, int row, int head) const noexcept {
  return arena.get() + size(row) * row_floats_ +
         size(head) * size(shape_.length) * size(shape_.head_dim);
}

void KvCache::copy_prefix(int from, int to, int tokens) noexcept {
  const std::size_t bytes = size(tokens) * size(shape_.head_dim) * sizeof(float);
  for (const Arena& arena : arenas_) {
    for (int h = 0; h < shape_.kv_heads; ++h) {
      std::memcpy(head(arena, to, h), head(arena, from, h), bytes);
    }
  }
}

void KvCache::clear(int row, int first, int last) noexcept {
  const std::size_t bytes = size(last - first) * size(shape_.head_dim) * sizeof(float);
  for (const Arena& arena : arenas_) {
    for (int h = 0; h < shape_.kv_heads; ++h) {
      std::memset(head(arena, row, h) + size(first) * size(shape_.head_dim), 0, bytes);
    }
  }
}

}  // namespace irt
