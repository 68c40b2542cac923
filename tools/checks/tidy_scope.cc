// A plugin for clang-tidy 19 (tools/checks/lint.py builds it): its checks look at the declarations
// of this repository only, not at those of the system's headers, whose findings nobody would be
// told. Most of clang-tidy's time goes there; clang-tidy 21 does the same by itself.
//
// Model. Matching begins with the translation unit as a whole. This check asks for that one match,
// and takes all that system headers declare out of what is visited after it.
//
// Compiled against libclang-19-dev, without exceptions and RTTI, as clang is; in no build.
#include <clang-tidy/ClangTidyCheck.h>
#include <clang-tidy/ClangTidyModule.h>
#include <clang-tidy/ClangTidyModuleRegistry.h>
#include <clang/AST/ASTContext.h>
#include <clang/ASTMatchers/ASTMatchers.h>

#include <vector>

namespace {

using clang::ast_matchers::MatchFinder;

class ScopeCheck final : public clang::tidy::ClangTidyCheck {
 public:
  using ClangTidyCheck::ClangTidyCheck;
  void registerMatchers(MatchFinder* finder) override {
    finder->addMatcher(clang::ast_matchers::translationUnitDecl().bind("unit"), this);
  }
  void check(const MatchFinder::MatchResult& result) override {
    const auto* const unit = result.Nodes.getNodeAs<clang::TranslationUnitDecl>("unit");
    const clang::SourceManager& sources = *result.SourceManager;
    std::vector<clang::Decl*> ours;
    for (clang::Decl* const declared : unit->decls()) {
      const clang::SourceLocation place = sources.getExpansionLoc(declared->getLocation());
      if (place.isValid() && !sources.isInSystemHeader(place)) ours.push_back(declared);
    }
    result.Context->setTraversalScope(ours);
  }
};

class ScopeModule final : public clang::tidy::ClangTidyModule {
 public:
  void addCheckFactories(clang::tidy::ClangTidyCheckFactories& factories) override {
    factories.registerCheck<ScopeCheck>("terrace-scope");
  }
};

const clang::tidy::ClangTidyModuleRegistry::Add<ScopeModule> kRegistered(
    "terrace-module", "limits what is looked at to the repository");

}  // namespace
