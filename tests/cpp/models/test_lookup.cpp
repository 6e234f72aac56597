#include <doctest/doctest.h>

#include <vector>

#include "models/lookup.h"

using irt::TokenLookup;

namespace {

using Tokens = std::vector<std::int64_t>;

Tokens guessed(const TokenLookup& lookup, const Tokens& text, std::size_t count = 3) {
  Tokens out;
  lookup.guess(text, count, out);
  return out;
}

}  // namespace

TEST_CASE("a guess is what followed the longest equal end, the latest one of equals") {
  const TokenLookup lookup(100);
  CHECK(guessed(lookup, {1, 2, 3, 4, 1, 2}) == Tokens{3, 4, 1});
  CHECK(guessed(lookup, {1, 2, 3, 1, 2, 4, 1, 2}) == Tokens{4, 1, 2});
  CHECK(guessed(lookup, {9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2}) == Tokens{3, 8, 1});
  CHECK(guessed(lookup, {7, 7, 7}) == Tokens{7});
  CHECK(guessed(lookup, {1, 2, 3, 4, 1, 2}, 1) == Tokens{3});
  for (const Tokens& text : {Tokens{}, {1}, {1, 2}, {1, 2, 3, 2}, {2, 1, 3, 2}}) {
    CHECK(guessed(lookup, text).empty());  // one equal token says nothing
  }
}

TEST_CASE("earlier answers are looked at, but not over their ends, and not for ever") {
  TokenLookup lookup(10);
  lookup.keep(Tokens{1, 2, 3});
  lookup.keep(Tokens{4, 5, 6, 7});
  CHECK(guessed(lookup, {1, 2}) == Tokens{3});
  CHECK(guessed(lookup, {4, 5}) == Tokens{6, 7});
  CHECK(guessed(lookup, {2, 3}).empty());
  CHECK(guessed(lookup, {8, 2, 9, 4, 5, 8, 4, 5}) == Tokens{8, 4, 5});  // its own text first
  lookup.keep(Tokens{1, 2, 8, 9});                                      // the oldest ones go
  CHECK(guessed(lookup, {1, 2}) == Tokens{8, 9});
  CHECK(guessed(lookup, {2, 3}).empty());
  lookup.keep(Tokens(20, 1));
  CHECK(guessed(lookup, {1, 1}).empty());
}
