#include "models/kv_cache.h"

#include <cstring>
#include <utility>

namespace irt {

KvCache::KvCache(const CacheShape& shape, ElementType type, const DeviceRef& device)
    : shape_(shape), length_(shape.length) {
  for (int i = 0; i < 2 * shape.layers; ++i) {
    arenas_.emplace_back(type, Shape{shape.slots, shape.kv_heads, shape.length, shape.head_dim},
                         device);
    arenas_.back().zero();
  }
}

void KvCache::lay_out(int length, std::span<const int> used) {
  const int before = std::exchange(length_, length);
  const int heads = shape_.slots * shape_.kv_heads;
  for (const Tensor& arena : arenas_) {
    // Rows that move apart begin with the last one, so that none is overwritten before it moves.
    for (int i = 0; i < heads; ++i) {
      const int head = length > before ? heads - 1 - i : i;
      const int tokens = used[size(head / shape_.kv_heads)];
      std::memmove(arena.data() + size(head) * bytes_of(length),
                   arena.data() + size(head) * bytes_of(before), bytes_of(tokens));
    }
  }
}

Tensor KvCache::part(const Tensor& arena, int first, int rows) const {
  const std::size_t before = size(first) * size(shape_.kv_heads * length_ * shape_.head_dim);
  return arena.view(before, {rows, shape_.kv_heads, length_, shape_.head_dim});
}

std::size_t KvCache::bytes_of(int tokens) const noexcept {
  return size(tokens) * size(shape_.head_dim) * size_of(arenas_.front().type());
}

std::byte* KvCache::at(const Tensor& arena, int row, int head, int first) const noexcept {
  return arena.data() + (size(row) * size(shape_.kv_heads) + size(head)) * bytes_of(length_) +
         bytes_of(first);
}

void KvCache::copy_prefix(int from, int to, int tokens) const {
  for (const Tensor& arena : arenas_) {
    // A device moves a whole row in less time than it takes to ask it for one head after another.
    if (!arena.device()->is_host()) {
      arena.rows(to, 1).copy_from(arena.rows(from, 1));
      continue;
    }
    for (int head = 0; head < shape_.kv_heads; ++head) {
      arena.device()->copy_within(at(arena, to, head, 0), at(arena, from, head, 0),
                                  bytes_of(tokens));
    }
  }
}

void KvCache::clear(int row, int first, int last) const {
  for (const Tensor& arena : arenas_) {
    for (int head = 0; head < shape_.kv_heads; ++head) {
      arena.device()->zero(at(arena, row, head, first), bytes_of(last - first));
    }
  }
}

}  // namespace irt
