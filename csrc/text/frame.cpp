#include "text/frame.h"

#include <array>
#include <utility>

namespace irt {
namespace {

constexpr bool is_space(char byte) noexcept {
  return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

constexpr bool is_language_byte(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9');
}

}  // namespace

void AnswerFrame::feed(std::string_view bytes, LexemeSink& sink) {
  for (const char byte : bytes) {
    if (literal_.status() != LiteralReader::Status::kOpen) return;
    ++position_;
    switch (state_) {
      case State::kBefore:
      case State::kThink:
      case State::kBetween: outside_byte(byte); break;
      case State::kOpening: opening_byte(byte, sink); break;
      case State::kFence: fence_byte(byte, sink); break;
      case State::kLiteral: literal_byte(byte, sink); break;
    }
  }
}

std::string AnswerFrame::reasoning() const {
  if (!reasoned_) return {};
  std::string out = reasoning_;
  Utf8Cleaner tail = utf8_;
  if (state_ == State::kThink) {
    for (const char byte : tag_) tail.push(byte, out);
  }
  tail.flush(out);
  return out;
}

void AnswerFrame::outside_byte(char byte) {
  static constexpr std::array<std::pair<std::string_view, Tag>, 3> kTags{
      {{"<think>", Tag::kThink}, {"</think>", Tag::kEndThink}, {"<answer>", Tag::kAnswer}}};
  tag_.push_back(byte);
  for (const auto& [spelling, tag] : kTags) {
    if (!wants(tag) || !spelling.starts_with(tag_)) continue;
    if (tag_.size() == spelling.size()) {
      tag_.clear();
      enter(tag);
    }
    return;
  }
  // No tag: its bytes are text. A tag holds '<' only in front, so only the last byte can begin one.
  const bool again = byte == '<' && tag_.size() > 1;
  text(std::string_view(tag_).substr(0, tag_.size() - (again ? 1 : 0)));
  tag_.assign(again ? 1 : 0, '<');
}

bool AnswerFrame::wants(Tag tag) const noexcept {
  switch (state_) {
    case State::kBefore: return true;
    case State::kThink: return tag == Tag::kEndThink;
    case State::kBetween: return tag == Tag::kAnswer;
    default: return false;
  }
}

void AnswerFrame::enter(Tag tag) {
  switch (tag) {
    case Tag::kThink:
      state_ = State::kThink;
      reasoned_ = true;
      reasoning_.clear();
      utf8_ = {};
      return;
    case Tag::kEndThink:
      state_ = State::kBetween;
      reasoned_ = true;
      utf8_.flush(reasoning_);
      return;
    case Tag::kAnswer: state_ = State::kOpening; return;
    case Tag::kNone: return;
  }
}

void AnswerFrame::text(std::string_view bytes) {
  if (state_ == State::kBetween) return;
  for (const char byte : bytes) {
    if (reasoning_.size() >= kMaxReasoningBytes) return;
    utf8_.push(byte, reasoning_);
  }
}

void AnswerFrame::opening_byte(char byte, LexemeSink& sink) {
  if (is_space(byte)) return;
  if (byte == '`' && ticks_ == 0) {
    ticks_ = 1;
    state_ = State::kFence;
    return;
  }
  state_ = State::kLiteral;
  literal_byte(byte, sink);
}

void AnswerFrame::fence_byte(char byte, LexemeSink& sink) {
  if (ticks_ < 3) {
    // The literal refuses a backtick, and says so.
    if (byte != '`') return literal_byte('`', sink);
    ++ticks_;
  } else if (!is_language_byte(byte)) {
    state_ = State::kOpening;
    opening_byte(byte, sink);
  }
}

void AnswerFrame::literal_byte(char byte, LexemeSink& sink) {
  literal_.feed(byte, position_ - 1, sink);
}

}  // namespace irt
