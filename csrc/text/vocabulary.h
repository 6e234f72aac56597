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
class Vocabulary {
 public:
  // tokens[id] are the bytes of token `id`. The ids in `special` (end of turn, image marks, ...)
  // and `eos` (those that end an answer) are control tokens: they yield no bytes, whatever
  // tokens[id] holds. Throws Error(kBadPack) for an empty table and for an id outside of it.
  Vocabulary(std::span<const std::string> tokens, std::span<const std::int32_t> special,
             std::span<const std::int64_t> eos = {});

  // Throw Error(kBadPack) for an id outside of the table. Views live as long as the table.
  [[nodiscard]] std::string_view bytes(std::int64_t id) const { return bytes_[index(id)]; }
  [[nodiscard]] bool is_control(std::int64_t id) const { return control_[index(id)]; }
  // ASCII without '<', and not empty.
  [[nodiscard]] bool is_plain(std::int64_t id) const { return plain_[index(id)]; }
  [[nodiscard]] std::size_t size() const noexcept { return control_.size(); }
  [[nodiscard]] const std::vector<std::int64_t>& eos() const noexcept { return eos_; }

 private:
  [[nodiscard]] std::size_t index(std::int64_t id) const;

  std::vector<std::string> bytes_;
  std::vector<bool> control_;
  std::vector<bool> plain_;
  std::vector<std::int64_t> eos_;
};

}  // namespace irt
