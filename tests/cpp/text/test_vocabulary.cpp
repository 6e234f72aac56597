#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>

#include "support/errors.h"
#include "text/vocabulary.h"

namespace irt {
namespace {

using namespace std::string_literals;

TEST_CASE("tokens give their bytes, zero bytes and halves of characters included") {
  const std::array<std::string, 4> tokens{"a", "\xE2\x82", "x\0y"s, ""};
  const Vocabulary table(tokens, {});
  CHECK(table.size() == 4);
  CHECK(table.bytes(0) == "a");
  CHECK(table.bytes(1) == "\xE2\x82");
  CHECK(table.bytes(2) == "x\0y"s);
  CHECK(table.bytes(3).empty());
  CHECK_FALSE(table.is_control(3));
}

TEST_CASE("a special token has no bytes, whatever the table says") {
  const std::array<std::string, 3> tokens{"a", "<|im_end|>", "b"};
  const std::array<std::int32_t, 1> special{1};
  const Vocabulary table(tokens, special);
  CHECK(table.is_control(1));
  CHECK(table.bytes(1).empty());
  CHECK_FALSE(table.is_control(2));
  CHECK(table.bytes(2) == "b");
  const std::array<std::int64_t, 1> eos{2};
  const Vocabulary ending(tokens, special, eos);
  CHECK(ending.is_control(1));
  CHECK(ending.is_control(2));
  CHECK(ending.eos().front() == 2);
}

TEST_CASE("plain tokens are ASCII without '<'") {
  const std::array<std::string, 5> tokens{"a >", "x<", "\xC3\xA9", "", "y"};
  const std::array<std::int32_t, 1> special{4};
  const Vocabulary table(tokens, special);
  for (std::int64_t id = 0; id < 5; ++id) CHECK(table.is_plain(id) == (id == 0));
}

TEST_CASE("a token outside of the table is an error of the pack") {
  const std::array<std::string, 2> tokens{"a", "b"};
  const Vocabulary table(tokens, {});
  for (const std::int64_t id : {std::int64_t{-1}, std::int64_t{2}, INT64_MAX, INT64_MIN}) {
    CAPTURE(id);
    testing::check_throws(
        ErrorCode::kBadPack, [&] { (void)table.bytes(id); },
        "token " + std::to_string(id) + " is outside");
    CHECK_THROWS_AS((void)table.is_control(id), Error);
  }
  const std::array<std::int32_t, 1> special{2};
  CHECK_THROWS_AS(Vocabulary(tokens, special), Error);
  const std::array<std::int64_t, 1> eos{-1};
  CHECK_THROWS_AS(Vocabulary(tokens, {}, eos), Error);
  CHECK_THROWS_AS(Vocabulary({}, {}), Error);
}

}  // namespace
}  // namespace irt
