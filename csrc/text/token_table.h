// Token id -> bytes, so that decoding needs neither Python nor a tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace irt {

// Immutable after construction: any number of threads may read it.
class TokenTable {
 public:
  // tokens[id] are the bytes of token `id`. The ids in `special` (end of turn, image marks, ...)
  // are control tokens: they yield no bytes, whatever tokens[id] holds. Throws kBadPack for an
  // empty table and for a special id outside of it.
  TokenTable(std::span<const std::string> tokens, std::span<const std::int32_t> special);

  // Throws kBadPack for an id outside of the table. The view lives as long as the table.
  [[nodiscard]] std::string_view bytes(std::int32_t id) const;
  [[nodiscard]] bool is_special(std::int32_t id) const;
  [[nodiscard]] std::size_t size() const noexcept { return special_.size(); }

 private:
  [[nodiscard]] std::size_t index(std::int32_t id) const;

  std::string blob_;
  std::vector<std::size_t> ends_;  // ends_[id] .. ends_[id + 1]
  std::vector<bool> special_;
};

}  // namespace irt
