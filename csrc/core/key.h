// Keys: the identity of a call, known before the call has run.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace irt {

// 128 bits; the all-zero key means "none".
struct Key {
  std::uint64_t hi = 0;
  std::uint64_t lo = 0;

  friend constexpr auto operator<=>(const Key&, const Key&) = default;
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return (hi | lo) != 0; }
};

// 32 lower-case hexadecimal digits.
[[nodiscard]] std::string to_hex(const Key& key);

// Accumulates the fields that determine a result. Fields are length-prefixed, so that no two
// different field lists feed the same bytes.
class KeyBuilder {
 public:
  explicit KeyBuilder(std::string_view domain) { add(domain); }
  KeyBuilder& add(std::uint64_t value) noexcept;
  KeyBuilder& add(std::string_view text) noexcept;
  KeyBuilder& add(const Key& key) noexcept { return add(key.hi).add(key.lo); }
  [[nodiscard]] Key finish() const noexcept;

 private:
  std::uint64_t a_ = 0x9e3779b97f4a7c15ULL;
  std::uint64_t b_ = 0xc2b2ae3d27d4eb4fULL;
};

// The finaliser of splitmix64: a bijective mixer of 64 bits.
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace irt

template <>
struct std::hash<irt::Key> {
  std::size_t operator()(const irt::Key& key) const noexcept {
    return static_cast<std::size_t>(key.lo);
  }
};
