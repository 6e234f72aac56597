#include "text/vocabulary.h"

#include <algorithm>

#include "core/error.h"

namespace irt {
namespace {

[[nodiscard]] bool plain(std::string_view bytes) noexcept {
  return !bytes.empty() && std::ranges::all_of(bytes, [](char byte) {
    return byte != '<' && static_cast<unsigned char>(byte) < 0x80U;
  });
}

}  // namespace

Vocabulary::Vocabulary(std::span<const std::string> tokens, std::span<const std::int32_t> special,
                       std::span<const std::int64_t> eos)
    : control_(tokens.size(), false), plain_(tokens.size(), false), eos_(eos.begin(), eos.end()) {
  if (tokens.empty()) {
    throw Error(ErrorCode::kBadPack,
                "[Vocabulary] the token table is empty: export the pack again");
  }
  for (const std::int32_t id : special) control_[index(id)] = true;
  for (const std::int64_t id : eos) control_[index(id)] = true;
  bytes_.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    bytes_.push_back(control_[id] ? std::string() : tokens[id]);
    plain_[id] = plain(bytes_.back());
  }
}

std::size_t Vocabulary::index(std::int64_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) {
    throw Error(ErrorCode::kBadPack,
                "[Vocabulary] token " + std::to_string(id) + " is outside of the table of " +
                    std::to_string(size()) +
                    " tokens: model and tokenizer do not belong together, export the pack again");
  }
  return static_cast<std::size_t>(id);
}

}  // namespace irt
