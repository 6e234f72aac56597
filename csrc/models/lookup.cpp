#include "models/lookup.h"

#include <algorithm>

namespace irt {
namespace {

constexpr std::size_t kLeast = 2;  // equal tokens that make a place worth a guess
constexpr std::size_t kMost = 16;  // more of them make no better one
constexpr std::int64_t kMark = -1;

struct Place {
  std::size_t equal = 0;  // tokens before it that are the last ones of the text
  std::span<const std::int64_t> following;
};

// Looks at all places of `where`, from the last one on.
void search(std::span<const std::int64_t> text, std::span<const std::int64_t> where, Place& best) {
  const std::int64_t last = text.back();
  for (std::size_t end = where.size(); end-- > 1 && best.equal < kMost;) {
    if (where[end - 1] != last) continue;
    const std::size_t most = std::min({end, text.size(), kMost});
    std::size_t equal = 1;
    while (equal < most && where[end - 1 - equal] == text[text.size() - 1 - equal]) ++equal;
    if (equal > best.equal) best = {equal, where.subspan(end)};
  }
}

}  // namespace

void TokenLookup::guess(std::span<const std::int64_t> text, std::size_t count,
                        std::vector<std::int64_t>& out) const {
  if (text.empty()) return;
  Place best{kLeast - 1, {}};
  search(text, text, best);
  search(text, kept_, best);
  for (const std::int64_t token : best.following.first(std::min(count, best.following.size()))) {
    if (token == kMark) return;
    out.push_back(token);
  }
}

void TokenLookup::keep(std::span<const std::int64_t> answer) {
  const std::size_t more = answer.size() + 1;
  if (more > capacity_) return;
  if (kept_.size() + more > capacity_) {
    const std::size_t half = std::max(kept_.size() / 2, kept_.size() + more - capacity_);
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(half));
  }
  kept_.push_back(kMark);
  kept_.insert(kept_.end(), answer.begin(), answer.end());
}

}  // namespace irt
