// The K/V memory of a decoder: one row for each slot, updated in place by the graph.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace irt {

[[nodiscard]] constexpr std::size_t size(int value) noexcept {
  return static_cast<std::size_t>(value);
}

struct CacheShape {
  int layers = 0;
  int slots = 0;
  int kv_heads = 0;
  int length = 0;  // tokens of a row, at most
  int head_dim = 0;
};

// Two arenas [slots, kv_heads, length, head_dim] a layer, zeroed. Rows are the leading axis, so
// that any contiguous range of rows is a tensor of its own. The rows may be laid out for fewer
// tokens than there is memory for. Not thread-safe.
class KvCache {
 public:
  KvCache(const CacheShape& shape, ElementType type, const DeviceRef& device);

  // Tokens of a row as it is laid out.
  [[nodiscard]] int length() const noexcept { return length_; }
  // Lays out all rows for `length` tokens. Row r keeps its first used[r] <= length ones; behind
  // them are numbers of other places. For memory that the host may write.
  void lay_out(int length, std::span<const int> used);

  // Tensors [rows, kv_heads, length, head_dim] over rows first .. first + rows - 1.
  [[nodiscard]] Tensor keys(int layer, int first, int rows) const {
    return part(arenas_[2 * static_cast<std::size_t>(layer)], first, rows);
  }
  [[nodiscard]] Tensor values(int layer, int first, int rows) const {
    return part(arenas_[2 * static_cast<std::size_t>(layer) + 1], first, rows);
  }
  // Copies the first `tokens` positions of a row to another row. What lies behind them may be
  // copied as well.
  void copy_prefix(int from, int to, int tokens) const;
  // Zeroes positions first .. last - 1 of a row: NaN in a masked position still leaks (0 * NaN).
  void clear(int row, int first, int last) const;

 private:
  [[nodiscard]] Tensor part(const Tensor& arena, int first, int rows) const;
  // Where position `first` of a head begins.
  [[nodiscard]] std::byte* at(const Tensor& arena, int row, int head, int first) const noexcept;
  [[nodiscard]] std::size_t bytes_of(int tokens) const noexcept;  // of one head

  CacheShape shape_;
  int length_;
  std::vector<Tensor> arenas_;  // keys, values of layer 0, of layer 1, ...
};

}  // namespace irt
