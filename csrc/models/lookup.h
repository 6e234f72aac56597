// What may come next in an answer, looked up in what was said before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace irt {

// Answers repeat themselves, their prompts and each other: frames of JSON, names, whole sentences.
// Where the last tokens of an answer stood before, what followed there is a good guess. Guesses
// are verified by the model, so that they change nothing but time. Not thread-safe.
class TokenLookup {
 public:
  // `capacity`: tokens of ended answers that are kept, the oldest ones go.
  explicit TokenLookup(std::size_t capacity) : capacity_(capacity) {}

  // Appends to `out` at most `count` tokens that may follow `text`, a prompt and its answer so far:
  // those behind the place where most of its last tokens stood before, the latest one of equals.
  void guess(std::span<const std::int64_t> text, std::size_t count,
             std::vector<std::int64_t>& out) const;
  // Keeps an ended answer. One that is longer than the capacity is not kept.
  void keep(std::span<const std::int64_t> answer);

 private:
  std::size_t capacity_;
  std::vector<std::int64_t> kept_;  // answers, each behind a mark that is no token
};

}  // namespace irt
