#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "text/token_table.h"

namespace irt {
namespace {

using namespace std::string_literals;

TEST_CASE("tokens give their bytes, zero bytes and halves of characters included") {
  const std::array<std::string, 4> tokens{"a", "\xE2\x82", "x\0y"s, ""};
  const TokenTable table(tokens, {});
  CHECK(table.size() == 4);
  CHECK(table.bytes(0) == "a");
  CHECK(table.bytes(1) == "\xE2\x82");
  CHECK(table.bytes(2) == "x\0y"s);
  CHECK(table.bytes(3).empty());
  CHECK_FALSE(table.is_special(3));
}

TEST_CASE("a special token has no bytes, whatever the table says") {
  const std::array<std::string, 3> tokens{"a", "<|im_end|>", "b"};
  const std::array<std::int32_t, 1> special{1};
  const TokenTable table(tokens, special);
  CHECK(table.is_special(1));
  CHECK(table.bytes(1).empty());
  CHECK_FALSE(table.is_special(2));
  CHECK(table.bytes(2) == "b");
}

TEST_CASE("a token outside of the table is an error of the pack") {
  const std::array<std::string, 2> tokens{"a", "b"};
  const TokenTable table(tokens, {});
  for (const std::int32_t id : {-1, 2, INT32_MAX, INT32_MIN}) {
    CAPTURE(id);
    try {
      (void)table.bytes(id);
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kBadPack);
      CHECK(std::string(error.what()).find("token " + std::to_string(id) + " is outside") !=
            std::string::npos);
    }
    CHECK_THROWS_AS((void)table.is_special(id), Error);
  }
  const std::array<std::int32_t, 1> special{2};
  CHECK_THROWS_AS(TokenTable(tokens, special), Error);
  CHECK_THROWS_AS(TokenTable({}, {}), Error);
}

}  // namespace
}  // namespace irt
