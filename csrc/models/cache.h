// The K/V memory of a decoder: one row for each slot, updated in place by the graph.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "tensor/ort.h"

namespace irt {

struct CacheShape {
  int layers = 0;
  int slots = 0;
  int kv_heads = 0;
  int length = 0;  // tokens of a row
  int head_dim = 0;
};

// Two arenas [slots, kv_heads, length, head_dim] a layer, zeroed. Rows are the leading axis, so
// that any contiguous range of rows is a tensor of its own. Not thread-safe.
class KvCache {
 public:
  explicit KvCache(const CacheShape& shape);

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  // Tensors [rows, kv_heads, length, head_dim] over rows first .. first + rows - 1.
  [[nodiscard]] Value keys(int layer, int first, int rows);
  [[nodiscard]] Value values(int layer, int first, int rows);
  // Copies the first `tokens` positions of a row to another row.
  void copy_prefix(int from, int to, int tokens) noexcept;
  // Zeroes positions first .. last - 1 of a row: NaN in a masked position still leaks (0 * NaN).
  void clear(int row, int first, int last) noexcept;

 private:
  struct Free {
    void operator()(float* memory) const noexcept;
  };
  using Arena = std::unique_ptr<float[], Free>;

  [[nodiscard]] Value view(Arena& arena, int first, int rows);
  [[nodiscard]] float* head(const Arena& arena, int row, int head) const noexcept;

  CacheShape shape_;
  std::size_t row_floats_ = 0;
  std::vector<Arena> arenas_;  // keys, values of layer 0, of layer 1, ...
};

}  // namespace irt
