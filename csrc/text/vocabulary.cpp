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
  std::size_t total = 0;
  for (std::size_t id = 0; id < tokens.size(); ++id) total += control_[id] ? 0 : tokens[id].size();
  blob_.reserve(total);
  ends_.reserve(tokens.size() + 1);
  ends_.push_back(0);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!control_[id]) {
      blob_ += tokens[id];
      plain_[id] = plain(tokens[id]);
    }
    ends_.push_back(blob_.size());
  }
}

std::string_view Vocabulary::bytes(std::int64_t id) const {
  const std::size_t at = index(id);
  return std::string_view(blob_).substr(ends_[at], ends_[at + 1] - ends_[at]);
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
