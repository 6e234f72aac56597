#include "models/grammar.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/key.h"

namespace irt {
namespace {

constexpr std::string_view kEndThink = "</think>";

// Up to this temperature the greatest logit is what a model means.
constexpr float kMeant = 1.0F;

// Of the second draw of a token; any constant that makes another counter of the same seed.
constexpr std::uint64_t kAgain = 0x67726d2d64726177ULL;

}  // namespace

Grammar::Grammar(std::string name, std::shared_ptr<const Vocabulary> vocabulary,
                 std::unique_ptr<TokenMatcher> whole, std::unique_ptr<TokenMatcher> closing,
                 int reserve, char last)
    : name_(std::move(name)),
      vocabulary_(std::move(vocabulary)),
      whole_(std::move(whole)),
      closing_(std::move(closing)),
      reserve_(reserve),
      last_(last) {
  if (!vocabulary_->eos().empty()) return;
  throw Error(ErrorCode::kBadPack, "[Grammar " + name_ +
                                       "] the vocabulary has no end-of-text token: export the pack "
                                       "again");
}

std::unique_ptr<GrammarState> Grammar::begin(int budget) const {
  return std::make_unique<GrammarState>(*this, budget);
}

GrammarState::GrammarState(const Grammar& grammar, int budget)
    : grammar_(grammar),
      start_(grammar.whole_.get()),
      matcher_(start_->clone()),
      think_limit_(static_cast<std::uint64_t>(
          std::max(0, budget - std::clamp(grammar.reserve_, 0, budget / 2)))),
      thinking_(grammar.closing_ != nullptr) {
  read_.reserve(static_cast<std::size_t>(std::max(0, budget)));
}

std::int64_t GrammarState::pick(std::span<const float> logits, const SamplingParams& params,
                                std::uint64_t index) {
  if (thinking_ && index >= think_limit_) close_think();
  std::int64_t token = sample(logits, params, index);
  if (take(token)) return token;
  thread_local std::vector<std::uint32_t> bits;
  bits.assign((logits.size() + 31) / 32, 0);
  if (complete_) {
    for (const std::int64_t id : grammar_.vocabulary_->eos()) {
      const auto bit = static_cast<std::size_t>(id);  // a table may have more tokens than logits
      if (bit < logits.size()) bits[bit / 32] |= 1U << (bit % 32);
    }
  } else {
    matcher_->allowed(bits);
    const bool meant = params.temperature <= kMeant &&
                       std::ranges::max(logits) == logits[static_cast<std::size_t>(token)];
    if (meant && meant_as_text(token, bits)) {
      let_go_ = true;
      return token;
    }
  }
  token = sample_allowed(logits, bits, params, index);
  ++corrected_;
  if (token < 0 || !take(token)) {
    throw Error(ErrorCode::kBackendFailed,
                "[Grammar " + grammar_.name_ + "] no token may follow after " +
                    std::to_string(index) +
                    " tokens: look for a value in the schema that the vocabulary cannot spell");
  }
  return token;
}

void GrammarState::close_think() {
  start_ = grammar_.closing_.get();
  matcher_ = start_->clone();
  read_.clear();
  thinking_ = settled_ = false;
}

bool GrammarState::take(std::int64_t token) {
  const Vocabulary& vocabulary = *grammar_.vocabulary_;
  if (complete_) {
    return std::ranges::find(vocabulary.eos(), token) != vocabulary.eos().end();
  }
  const auto id = static_cast<std::size_t>(token);  // a model may have more rows than tokens
  if (id >= vocabulary.size() || vocabulary.is_control(token)) return false;
  if (settled_ && vocabulary.is_plain(token)) return true;  // leaves the matcher where it is
  if (!advance(token)) return false;
  read_.push_back(token);
  if (thinking_) watch_think(token);
  const char last = grammar_.last_;
  complete_ = (last == '\0' || vocabulary.bytes(token).find(last) != std::string_view::npos) &&
              matcher_->complete();
  return true;
}

// Whether a token that may not follow goes on with a string that a quote has just ended: nothing
// that stands behind a string, misspelled or not, begins like it. A name is no such string (its
// colon may have been forgotten), and a quote that begins one has ended none: what may follow
// tells.
bool GrammarState::meant_as_text(std::int64_t token, std::span<const std::uint32_t> allowed) const {
  const Vocabulary& vocabulary = *grammar_.vocabulary_;
  if (thinking_ || read_.empty() || static_cast<std::size_t>(token) >= vocabulary.size()) {
    return false;
  }
  const std::string_view bytes = vocabulary.bytes(token);
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  if (!vocabulary.bytes(read_.back()).ends_with('"') || first == std::string_view::npos ||
      std::string_view(",:}]<\"").find(bytes[first]) != std::string_view::npos) {
    return false;
  }
  const std::size_t known = std::min(allowed.size() * 32, vocabulary.size());
  for (std::size_t id = 0; id < known; ++id) {
    if ((allowed[id / 32] >> (id % 32) & 1U) == 0) continue;
    const std::string_view next = vocabulary.bytes(static_cast<std::int64_t>(id));
    if (!next.empty() && std::string_view(" \t\r\n,}]").find(next[0]) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

// Asking first would double what a token costs, and nearly every token may follow. An answer that
// had to be corrected is likely to be corrected again: there it is asked.
bool GrammarState::advance(std::int64_t token) {
  if (corrected_ == 0) {
    if (matcher_->try_consume(token)) return true;
    matcher_ = start_->clone();
    for (const std::int64_t before : read_) matcher_->consume(before);
  }
  if (!matcher_->accepts(token)) return false;
  matcher_->consume(token);
  return true;
}

// '<' stands in front of the tag only, so a byte that breaks it can at most begin it anew.
void GrammarState::watch_think(std::int64_t token) {
  for (const char byte : grammar_.vocabulary_->bytes(token)) {
    matched_ = byte == kEndThink[matched_] ? matched_ + 1 : (byte == kEndThink[0] ? 1 : 0);
    if (matched_ == kEndThink.size()) {
      thinking_ = settled_ = false;
      return;
    }
    // No tag goes on behind these; half a character must be read to its end.
    if (byte == ' ' || byte == '\n' || byte == '>') settled_ = true;
    if (byte == kEndThink[0] || static_cast<unsigned char>(byte) >= 0x80U) settled_ = false;
  }
}

std::int64_t sample_allowed(std::span<const float> logits, std::span<const std::uint32_t> bits,
                            const SamplingParams& params, std::uint64_t index) {
  // Only the allowed tokens, in order of their ids: ties go to the lowest id here as well.
  thread_local std::vector<float> values;
  thread_local std::vector<std::int64_t> ids;
  values.clear();
  ids.clear();
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if ((bits[id / 32] >> (id % 32) & 1U) == 0) continue;
    values.push_back(logits[id]);
    ids.push_back(static_cast<std::int64_t>(id));
  }
  if (ids.empty()) return -1;
  SamplingParams draw = params;
  draw.seed = mix64(params.seed ^ kAgain);
  for (const std::int64_t id : params.favoured) {
    const auto found = std::ranges::lower_bound(ids, id);
    if (found != ids.end() && *found == id) {
      values[static_cast<std::size_t>(found - ids.begin())] += params.bonus;
    }
  }
  draw.favoured = {};
  return ids[static_cast<std::size_t>(sample(values, draw, index))];
}

}  // namespace irt
