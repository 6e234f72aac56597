// Configuration of native roles, and the synchronous roles of the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "bind/convert.h"
#include "bind/engine.h"
#include "bind/values.h"
#include "engine/image_model.h"
#include "engine/inline_roles.h"
#include "engine/model_lane.h"
#include "engine/vlm_model.h"
#include "models/llguidance.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

// One grammar as text (models/grammar.h says what the parts are; an empty `closing` = none).
struct GrammarText {
  std::string name;
  std::string whole;
  std::string closing;
  int reserve = 0;
};

struct BoundVlmConfig {
  VlmConfig config;
  std::vector<std::string> token_bytes;
  std::vector<std::int32_t> special_tokens;
  std::vector<GrammarText> grammars;  // none; one; or one without and one with images
};

}  // namespace

template <>
struct Fields<SessionOptions> {
  using S = SessionOptions;
  static constexpr auto kRows = fields<&S::intra_op_threads, &S::providers>();
};
template <>
struct Fields<GrammarText> {
  using S = GrammarText;
  static constexpr auto kRows = fields<&S::name, &S::whole, &S::closing, &S::reserve>();
};
template <>
struct Fields<BoundVlmConfig> {
  using B = BoundVlmConfig;
  using C = VlmConfig;
  using D = DecoderConfig;
  using V = VisionConfig;
  using P = SamplingParams;
  static constexpr auto kConfig = &B::config;
  static constexpr auto kVision = &C::vision_config;
  static constexpr const char* kName = "VlmConfig";
  static constexpr auto kRows = join(
      At<kConfig>::fields<&C::decoder, &C::vision, &C::max_pixels_many, &C::many, &C::true_tokens,
                          &C::false_tokens, &C::verdict_threshold, &C::max_new_tokens,
                          &C::vision_cache, &C::session>(),
      At<kConfig, &C::decoder_config>::fields<
          &D::layers, &D::hidden, &D::kv_heads, &D::head_dim, &D::vocab, &D::deepstack_levels,
          &D::image_token_id, &D::eos_token_ids, &D::cache_length, &D::slots, &D::prefill_chunk,
          &D::prefill_rows, &D::reuse_prefix, &D::decode_graph, &D::draft_tokens>(),
      At<kConfig, kVision>::fields<&V::patch_size, &V::merge_size, &V::temporal_patch_size,
                                   &V::min_pixels, &V::max_pixels>(),
      At<kConfig, &C::sampling>::fields<&P::temperature, &P::top_k, &P::top_p>(),
      fields<&B::token_bytes, &B::special_tokens, &B::grammars>(),
      std::array{row<kConfig, kVision, &V::mean>("image_mean"),
                 row<kConfig, kVision, &V::std>("image_std"),
                 Field<B>{"family", nullptr, [](B& self, nb::handle value) {
                            read_plain(value, self.config.decoder_config.family);
                            self.config.vision_config.family = self.config.decoder_config.family;
                          }}});
};
template <>
struct Fields<Part> {
  static constexpr auto kRows = fields<&Part::name, &Part::path>();
};
template <>
struct Fields<ImageModelConfig> {
  using C = ImageModelConfig;
  using G = GeneratorConfig;
  using V = VisionConfig;
  static constexpr const char* kName = "GeneratorConfig";
  static constexpr auto kRows = join(
      At<&C::generator>::fields<&G::family, &G::parts, &G::latent_channels, &G::text_dim,
                                &G::max_sequence_length, &G::token_pixels, &G::reference_time,
                                &G::default_width, &G::default_height, &G::default_steps, &G::shift,
                                &G::shift_terminal, &G::shift_line, &G::rescale_guidance,
                                &G::max_batch, &G::image_token_id, &G::prompt_skip, &G::seen_area,
                                &G::encoded_area, &G::between_pictures>(),
      At<&C::generator, &G::vision>::fields<&V::patch_size, &V::merge_size, &V::temporal_patch_size,
                                            &V::min_pixels, &V::max_pixels>(),
      std::array{row<&C::generator, &G::vision, &V::mean>("image_mean"),
                 row<&C::generator, &G::vision, &V::std>("image_std")},
      fields<&C::slots, &C::latent_cache, &C::negative_ids, &C::negative_mask, &C::guidance,
             &C::session>());
};

template <>
struct Fields<BatchedDecoder::Counters> {
  using S = BatchedDecoder::Counters;
  static constexpr auto kRows =
      fields<&S::steps, &S::tokens, &S::constrained_tokens, &S::corrected_tokens,
             &S::drafted_tokens, &S::accepted_tokens>();
};

namespace {

double time_of_graph(const std::string& path, const std::map<std::string, Shape>& shapes,
                     int threads, int runs) {
  return unlocked([&] {
    const Session session(path, SessionOptions{.intra_op_threads = threads});
    return time_graph(session, shapes, runs);
  });
}

using GrammarRef = std::shared_ptr<const Grammar>;

std::vector<GrammarRef> compile_all(const BoundVlmConfig& bound,
                                    const std::shared_ptr<const Vocabulary>& vocabulary) {
  if (bound.grammars.empty()) return {};
  if (bound.grammars.size() > 2) {
    throw Error(ErrorCode::kInternal, "[VlmConfig] more than two grammars");
  }
  const auto tokenizer = make_llg_tokenizer(*vocabulary);
  constexpr char kLast = '>';  // of "</answer>"
  std::vector<GrammarRef> made;
  for (const GrammarText& text : bound.grammars) {
    auto whole = make_llg_matcher(tokenizer, text.name, text.whole);
    auto closing =
        text.closing.empty() ? nullptr : make_llg_matcher(tokenizer, text.name, text.closing);
    made.push_back(std::make_shared<const Grammar>(text.name, vocabulary, std::move(whole),
                                                   std::move(closing), text.reserve, kLast));
  }
  return made;
}

// With token table and grammars built. Throws Error(kBadPack) for a table that does not fit or a
// grammar that cannot be compiled, Error(kBackendFailed) where llguidance is not loaded.
VlmConfig resolved(const BoundVlmConfig& bound) {
  VlmConfig out = bound.config;
  const auto& ends = bound.config.decoder_config.eos_token_ids;
  out.tokens = std::make_shared<const Vocabulary>(bound.token_bytes, bound.special_tokens, ends);
  for (const std::int32_t id : bound.special_tokens) {
    if (std::ranges::find(ends, id) != ends.end()) continue;
    out.decoder_config.forbidden_token_ids.push_back(id);
  }
  const std::vector<GrammarRef> made = compile_all(bound, out.tokens);
  if (!made.empty()) out.grammar = made.front();
  if (made.size() > 1) out.image_grammar = made.back();
  return out;
}

// Looks at the arrays, which must live until it is answered.
Question question_of(const IdsIn& ids, const std::vector<PixelsIn>& images, std::uint64_t seed,
                     int retry) {
  Question question{span_of(ids), {}, seed, retry};
  for (const PixelsIn& image : images) question.images.push_back(view_of(image));
  return question;
}

void add_model(Driver& driver, Role role, std::unique_ptr<RoleModel> model,
               const std::string& device, const std::string& name) {
  const LaneInfo info{driver.next_lane_id(), role, model->capacity(), device, name};
  driver.add_lane(std::make_unique<ModelLane>(info, std::move(model), driver, driver.text()));
}

template <Role kRole>
void add_vlm(BoundEngine& self, const Dict& config, const std::string& device,
             const std::string& name) {
  const auto bound = struct_of<BoundVlmConfig>(config);
  const WithoutGil released;
  add_model(self.driver(), kRole, std::make_unique<VlmModel>(resolved(bound)), device, name);
}

void add_generator(BoundEngine& self, const Dict& config, const std::string& device,
                   const std::string& name) {
  const auto bound = struct_of<ImageModelConfig>(config);
  const WithoutGil released;
  auto model = std::make_unique<ImageModel>(bound);
  add_model(self.driver(), Role::kGenerator, std::move(model), device, name);
}

}  // namespace

void add_roles(nb::class_<BoundEngine>& cls) {
  cls.def("add_planner", &add_vlm<Role::kPlanner>, "config"_a, "device"_a, "name"_a)
      .def("add_critic", &add_vlm<Role::kCritic>, "config"_a, "device"_a, "name"_a)
      .def("add_generator", &add_generator, "config"_a, "device"_a, "name"_a);
}

void bind_native(nb::module_& m) {
  m.def("time_graph", &time_of_graph, "path"_a, "shapes"_a, "threads"_a, "runs"_a,
        "Seconds of the quickest of some runs on the CPU, on zeros; `shapes` of inputs and outputs "
        "by name, where dimensions that the graph leaves open are not 1.");
  nb::class_<Answer>(m, "Answer", "One whole answer of a vision-language model.")
      .def_prop_ro("text",
                   [](const Answer& self) { return nb::bytes(self.text.data(), self.text.size()); })
      .def_ro("tokens", &Answer::tokens)
      .def_ro("offsets", &Answer::offsets, "Byte offset in text at which each token begins.")
      .def_ro("verdict_p", &Answer::p_success, "p(success) at each token, from its logits.")
      .def_prop_ro("stop", [](const Answer& self) { return name_of(self.stop); });

  nb::class_<InlineVlm>(m, "NativeVlm", "A planner or critic called synchronously, without a lane.")
      .def(
          "__init__",
          [](InlineVlm* self, const Dict& config, int slots) {
            new (self) InlineVlm(resolved(struct_of<BoundVlmConfig>(config)), slots);
          },
          "config"_a, "slots"_a = 1)
      .def(
          "answers",
          [](InlineVlm& self,
             const std::vector<std::tuple<IdsIn, std::vector<PixelsIn>, std::uint64_t, int>>&
                 asked) {
            std::vector<Question> questions;
            for (const auto& each : asked) questions.push_back(std::apply(question_of, each));
            return unlocked([&] { return self.answers(questions); });
          },
          "questions"_a,
          "Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.")
      .def("constrain", &InlineVlm::constrain, "on"_a,
           "Off: the next questions are asked as if the role had no grammar; for measurements.")
      .def("counters", [](InlineVlm& self) { return dict_of(self.counters()); })
      .def(
          "answer",
          [](InlineVlm& self, const IdsIn& ids, const std::vector<PixelsIn>& images,
             std::uint64_t seed, int retry) {
            const Question question = question_of(ids, images, seed, retry);
            return unlocked([&] { return self.answer(question); });
          },
          "ids"_a, "images"_a, "seed"_a, "retry"_a = 0,
          "Decodes to the end of the answer. `ids` holds one image token for each image.");

  nb::class_<InlineGenerator>(m, "NativeGenerator",
                              "The generator called synchronously at batch 1.")
      .def(
          "__init__",
          [](InlineGenerator* self, const Dict& config) {
            new (self) InlineGenerator(struct_of<ImageModelConfig>(config));
          },
          "config"_a)
      .def(
          "generate",
          [](InlineGenerator& self, const IdsIn& ids, const IdsIn& mask,
             const std::vector<PixelsIn>& sources, std::uint64_t seed, int width, int height,
             int steps) {
            std::vector<ImageView> views;
            for (const PixelsIn& source : sources) views.push_back(view_of(source));
            return array_of(unlocked([&] {
              return self.generate(span_of(ids), span_of(mask), views, seed, width, height, steps);
            }));
          },
          "ids"_a, "mask"_a, "sources"_a, "seed"_a, "width"_a = 0, "height"_a = 0, "steps"_a = 0,
          "Makes one image: uint8 [height, width, 3], read-only.");
}

}  // namespace irt
