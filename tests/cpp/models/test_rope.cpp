#include <doctest/doctest.h>

#include <vector>

#include "models/qwen3_vl.h"
#include "support/errors.h"

using namespace irt;
using irt::testing::check_throws;

namespace {

constexpr std::int64_t kPad = 90;
using Ids = std::vector<std::int64_t>;

// [time, height, width] one after the other; the numbers below are those of transformers'
// Qwen3VLModel.get_rope_index (5.23).
void check(const Ids& ids, const std::vector<ImageGrid>& grids, const std::vector<Ids>& axes,
           std::int64_t delta) {
  const Positions found = rope_positions(ids, kPad, grids);
  Ids expected;
  for (const Ids& axis : axes) expected.insert(expected.end(), axis.begin(), axis.end());
  CHECK(found.ids == expected);
  CHECK(found.next - static_cast<std::int64_t>(ids.size()) == delta);
}

}  // namespace

TEST_CASE("positions are those of transformers' get_rope_index") {
  check({1, 2, 3}, {}, {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}, 0);
  check({1, 88, kPad, kPad, kPad, kPad, kPad, kPad, 89, 5, 6}, {{2, 3}},
        {{0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7},
         {0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7},
         {0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7}},
        -3);
  check({88, kPad, kPad, kPad, 89, 88, kPad, kPad, kPad, kPad, kPad, kPad, kPad, kPad, 89, 7},
        {{1, 3}, {4, 2}},
        {{0, 1, 1, 1, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 10, 11},
         {0, 1, 1, 1, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 11},
         {0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7, 10, 11}},
        -4);
  // Two images side by side are told apart by their grids.
  check({kPad, kPad, kPad}, {{1, 1}, {2, 1}}, {{0, 1, 1}, {0, 1, 2}, {0, 1, 1}}, 0);
}

TEST_CASE("image tokens that do not match the images are refused") {
  const auto refused = [](const Ids& ids, const std::vector<ImageGrid>& grids) {
    check_throws(ErrorCode::kBadRequest, [&] { (void)rope_positions(ids, kPad, grids); });
  };
  refused({1, kPad, kPad}, {});                // no image
  refused({1, kPad, kPad}, {{1, 3}});          // the prompt ends inside the image
  refused({kPad, 1, kPad}, {{1, 2}});          // text inside the image
  refused({kPad, kPad, 1}, {{1, 2}, {1, 1}});  // an image without tokens
  refused({kPad}, {{0, 1}});
}
