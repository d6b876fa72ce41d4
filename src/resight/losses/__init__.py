"""What training makes small: functions of features and identities, each of which gives one number a term."""
