#include "text/token_table.h"

#include "core/error.h"

namespace irt {

TokenTable::TokenTable(std::span<const std::string> tokens, std::span<const std::int32_t> special)
    : special_(tokens.size(), false) {
  if (tokens.empty()) {
    throw Error(ErrorCode::kBadPack,
                "[TokenTable] the token table is empty: export the pack again");
  }
  for (const std::int32_t id : special) special_[index(id)] = true;
  std::size_t total = 0;
  for (std::size_t id = 0; id < tokens.size(); ++id) total += special_[id] ? 0 : tokens[id].size();
  blob_.reserve(total);
  ends_.reserve(tokens.size() + 1);
  ends_.push_back(0);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!special_[id]) blob_ += tokens[id];
    ends_.push_back(blob_.size());
  }
}

std::string_view TokenTable::bytes(std::int32_t id) const {
  const std::size_t at = index(id);
  return std::string_view(blob_).substr(ends_[at], ends_[at + 1] - ends_[at]);
}

bool TokenTable::is_special(std::int32_t id) const { return special_[index(id)]; }

std::size_t TokenTable::index(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= special_.size()) {
    throw Error(ErrorCode::kBadPack,
                "[TokenTable] token " + std::to_string(id) + " is outside of the table of " +
                    std::to_string(special_.size()) +
                    " tokens: model and tokenizer do not belong together, export the pack again");
  }
  return static_cast<std::size_t>(id);
}

}  // namespace irt
