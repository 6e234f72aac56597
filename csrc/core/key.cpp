#include "core/key.h"

#include <cstring>

namespace irt {

std::string to_hex(const Key& key) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out(32, '0');
  for (int i = 0; i < 16; ++i) {
    out[static_cast<std::size_t>(15 - i)] = kDigits[(key.hi >> (4 * i)) & 0xF];
    out[static_cast<std::size_t>(31 - i)] = kDigits[(key.lo >> (4 * i)) & 0xF];
  }
  return out;
}

KeyBuilder& KeyBuilder::add(std::uint64_t value) noexcept {
  a_ = mix64(a_ ^ value);
  b_ = mix64(b_ + value * 0xff51afd7ed558ccdULL) ^ (a_ >> 7);
  return *this;
}

KeyBuilder& KeyBuilder::add(std::string_view text) noexcept {
  add(static_cast<std::uint64_t>(text.size()));
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    add(word);
  }
  std::uint64_t tail = 0;
  std::memcpy(&tail, text.data() + i, text.size() - i);
  return add(tail);
}

Key KeyBuilder::finish() const noexcept {
  Key key{mix64(a_ ^ (b_ << 1)), mix64(b_ ^ (a_ >> 1))};
  if (!key) key.lo = 1;  // zero is reserved for "none"
  return key;
}

}  // namespace irt
