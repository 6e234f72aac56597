// Finds <think>...</think><answer>{...} in a byte stream and reads the answer's literal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/literal.h"
#include "text/utf8.h"

namespace irt {

// The answer begins after the first <answer>; where a <think> was opened before it, after the first
// <answer> that follows </think>. Up to its literal it may hold white space and one code fence
// (```json). It ends with its literal: `</answer>` inside a string is text, elsewhere it is a byte
// that breaks the literal.
class AnswerFrame {
 public:
  static constexpr std::size_t kMaxReasoningBytes = 64 * 1024;  // the rest is dropped

  // Bytes after the end of the literal are ignored.
  void feed(std::string_view bytes, LexemeSink& sink);

  [[nodiscard]] LiteralReader::Status status() const noexcept { return literal_.status(); }
  [[nodiscard]] bool in_answer() const noexcept { return state_ >= State::kOpening; }
  // Bytes taken so far; after the end: the offset behind the byte that ended the literal.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::string_view problem() const noexcept { return literal_.problem(); }
  // The think part as far as it was read, valid UTF-8. Where the stream has a </think> alone (the
  // prompt opened the think part): what stands before it.
  [[nodiscard]] std::string reasoning() const;

 private:
  enum class State { kBefore, kThink, kBetween, kOpening, kFence, kLiteral };
  enum class Tag { kNone, kThink, kEndThink, kAnswer };

  void outside_byte(char byte);
  void opening_byte(char byte, LexemeSink& sink);
  void fence_byte(char byte, LexemeSink& sink);
  void literal_byte(char byte, LexemeSink& sink);
  [[nodiscard]] bool wants(Tag tag) const noexcept;
  void enter(Tag tag);
  void text(std::string_view bytes);

  State state_ = State::kBefore;
  std::size_t position_ = 0;
  std::string tag_;  // the beginning of a tag that may be one of ours, at most 8 bytes
  int ticks_ = 0;    // of the code fence
  bool reasoned_ = false;
  std::string reasoning_;
  Utf8Cleaner utf8_;
  LiteralReader literal_;
};

}  // namespace irt
