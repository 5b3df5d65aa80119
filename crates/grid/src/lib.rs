//! The electrical model: power triangle, appliances, households, generating stations.
