// Constrained decoding: which token may come next in an answer.
//
// The decoder draws a token as it would without a grammar. Where the grammar takes that token, it
// is the answer's: a constrained answer equals the unconstrained one, token by token, for as long
// as that one conforms. Where it does not, the token is drawn again among those that are allowed:
// greedily that is the greatest allowed logit; with sampling a second draw with a counter of its
// own, so that (without top-k and top-p) every allowed token has its probability given that it is
// allowed. Logits are never altered: p(success) is read from them as the model gave them.
//
// A quote that the model meant as a letter of a string ends it for the grammar. What the model
// wants to write behind it shows that: such an answer is its own from there on, and the reader
// makes of it what it makes of any answer. Corrected, it would be a piece of what was meant. (Not
// above temperature 1: what is drawn there need not be meant.)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/sampler.h"
#include "text/vocabulary.h"

namespace irt {

// A place in one grammar. Not thread-safe; clones are independent and may go to other threads.
class TokenMatcher {
 public:
  virtual ~TokenMatcher() = default;
  [[nodiscard]] virtual std::unique_ptr<TokenMatcher> clone() const = 0;
  // Whether `token` may come next; false for every end-of-text token. Changes nothing.
  [[nodiscard]] virtual bool accepts(std::int64_t token) = 0;
  // Goes on by one accepted token.
  virtual void consume(std::int64_t token) = 0;
  // The same for a token that may not be accepted: false then, and the matcher is of no more use.
  [[nodiscard]] virtual bool try_consume(std::int64_t token) {
    if (!accepts(token)) return false;
    consume(token);
    return true;
  }
  // The text read so far is a whole one.
  [[nodiscard]] virtual bool complete() = 0;
  // Bit t of `bits` (one bit a token, from the lowest) = `token t may come next`.
  virtual void allowed(std::span<std::uint32_t> bits) = 0;
  // All but the destructor throw Error(kBackendFailed) when the library fails.
};

class GrammarState;

// One grammar for whole answers: a think part that stays free, then the constrained answer.
// Immutable; `begin` may be called by several threads at once.
class Grammar {
 public:
  // `whole` reads answers from their first token. `closing`, where there is one, reads them from
  // "</think>" on: it takes over when the think part has used up its share of the tokens. With it,
  // the think part takes any text: only a tag, which begins with '<', ends with '>' and holds no
  // white space, can change what may follow.
  // `reserve`: tokens that the think part must leave for the answer (at most half of all).
  // Throws Error(kBadPack) for a vocabulary without an end-of-text token.
  // `last`: every whole text ends with a token that holds this byte; 0: it may be any.
  Grammar(std::string name, std::shared_ptr<const Vocabulary> vocabulary,
          std::unique_ptr<TokenMatcher> whole, std::unique_ptr<TokenMatcher> closing, int reserve,
          char last = '\0');

  // For one answer of at most `budget` tokens.
  [[nodiscard]] std::unique_ptr<GrammarState> begin(int budget) const;
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  friend class GrammarState;
  std::string name_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<TokenMatcher> whole_;
  std::unique_ptr<TokenMatcher> closing_;
  int reserve_;
  char last_;
};

// One answer under way. Not thread-safe; keeps no reference to other states.
class GrammarState {
 public:
  GrammarState(const Grammar& grammar, int budget);  // `grammar` must outlive the state

  // The answer's next token, number `index` from 0. Throws Error(kBackendFailed) when the library
  // fails or no token is allowed; the sequence has failed then, others are not touched.
  // No allocation, but in the library and where the scratch space of the thread grows.
  // Not to be called once the answer has been let go.
  [[nodiscard]] std::int64_t pick(std::span<const float> logits, const SamplingParams& params,
                                  std::uint64_t index);
  // Tokens so far that had to be drawn again.
  [[nodiscard]] int corrected() const noexcept { return corrected_; }
  // The rest of the answer is the model's own: it is drawn as without a grammar.
  [[nodiscard]] bool let_go() const noexcept { return let_go_; }

 private:
  void close_think();
  [[nodiscard]] bool take(std::int64_t token);  // false: it may not follow
  [[nodiscard]] bool advance(std::int64_t token);
  void watch_think(std::int64_t token);
  [[nodiscard]] bool meant_as_text(std::int64_t token,
                                   std::span<const std::uint32_t> allowed) const;

  const Grammar& grammar_;
  const TokenMatcher* start_;  // where matcher_ began
  std::unique_ptr<TokenMatcher> matcher_;
  std::vector<std::int64_t> read_;  // by matcher_
  std::uint64_t think_limit_;
  bool thinking_;
  bool settled_ = false;     // thoughts so far say nothing of what may follow
  std::size_t matched_ = 0;  // bytes of "</think>" that the text ends with
  bool complete_ = false;
  bool let_go_ = false;
  int corrected_ = 0;
};

// Draws among the tokens whose bit is set in `bits`, with a counter of its own: the first draw has
// given a token that is not. -1 where no bit is set.
[[nodiscard]] std::int64_t sample_allowed(std::span<const float> logits,
                                          std::span<const std::uint32_t> bits,
                                          const SamplingParams& params, std::uint64_t index);

}  // namespace irt
