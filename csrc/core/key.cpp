#include "core/key.h"

#include <cstring>

#include "core/call.h"

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

Key key_of(const Call& call) {
  KeyBuilder builder("irt.call.1");
  const auto add = [&builder](auto... numbers) {
    (builder.add(static_cast<std::uint64_t>(numbers)), ...);
  };
  add(call.role, call.request, call.step, call.attempt, call.retry, call.seed, call.mode,
      call.max_steps);
  builder.add(call.prompt).add(call.original);
  add(call.images.size());
  for (const Key& image : call.images) builder.add(image);
  builder.add(call.source).add(call.image);
  add(call.width, call.height, call.denoising_steps);
  return builder.finish();
}

std::uint64_t seed_of(std::uint64_t request_seed, SeedRule rule, Role role, int step, int attempt,
                      int retry) {
  if (rule == SeedRule::kReference && role == Role::kGenerator) {
    return static_cast<std::uint64_t>(step) * 1000U;
  }
  std::uint64_t seed = mix64(request_seed);
  for (const int part : {static_cast<int>(role) + 1, step, attempt, retry}) {
    seed = mix64(seed ^ static_cast<std::uint64_t>(part));
  }
  return seed;
}

}  // namespace irt
