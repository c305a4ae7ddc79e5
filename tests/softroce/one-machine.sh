# In the guest: the backend contract over one rail and two, push and pull, data byte by byte; then
# rails and processes that are lost in the middle of traffic.
. /rails.sh
make_rails 2
conformance_tests --gtest_filter='*Verbs*' --gtest_brief=1 --gtest_color=no || exit
verbs_tests --gtest_filter='*Lost*' --gtest_brief=1 --gtest_color=no
